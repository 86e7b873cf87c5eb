"""Files of benchmarks: what is found, what is refused, and in which words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from captionseg.benchmarks.mask_files import read_mask
from captionseg.benchmarks.published.catalogue import PUBLISHED
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import mask, picture, write_tree

RAW = np.arange(12).reshape(3, 4)
VOC, OWN = PUBLISHED["voc"], PUBLISHED["folder"]


@pytest.mark.parametrize("how", ["P", "L", "mat", "RGB"])
def test_all_kinds_of_mask_files_give_raw_values(tmp_path, how):
    path = tmp_path / ("m.mat" if how == "mat" else "m.png")
    raw = RAW + (300 if how in ("mat", "RGB") else 0)
    mask(path, raw, how)
    np.testing.assert_array_equal(read_mask(path, rgb=how == "RGB"), raw)


def test_sixteen_bits_and_one(tmp_path):
    Image.fromarray((RAW + 1000).astype(np.uint16)).save(tmp_path / "i.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "i.png"), RAW + 1000)
    Image.fromarray(RAW > 5).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), RAW > 5)


def test_files_that_are_no_masks_are_one_line(tmp_path):
    mask(tmp_path / "rgb.png", RAW, "RGB")
    with pytest.raises(
        UserError, match=r"expected class numbers, found colours \(RGB\); .* index or palette PNG"
    ):
        read_mask(tmp_path / "rgb.png")
    mask(tmp_path / "l.png", RAW, "L")
    with pytest.raises(UserError, match=r"found colours \(L\); .* R \+ 256 G"):
        read_mask(tmp_path / "l.png", rgb=True)
    for name in ("text.png", "text.mat", "missing.png", "missing.mat"):
        if name.startswith("text"):
            (tmp_path / name).write_text("no mask at all, whatever its name says")
        with pytest.raises(UserError, match=r"not a readable image|not a \.mat file with LabelMap"):
            read_mask(tmp_path / name)
    savemat(tmp_path / "other.mat", {"Other": RAW})
    with pytest.raises(UserError, match=r"not a \.mat file with LabelMap"):
        read_mask(tmp_path / "other.mat")
    for odd in (RAW - 1, RAW + 0.5, RAW[None].repeat(2, 0), RAW + 70_000):
        savemat(tmp_path / "odd.mat", {"LabelMap": odd})
        with pytest.raises(UserError, match="one whole number from 0 to 65535 per pixel"):
            read_mask(tmp_path / "odd.mat")


def test_a_root_may_lie_inside_the_home(tmp_path):
    root = write_tree(tmp_path, "voc", [RAW])
    home = root / "VOCdevkit" / "VOC2012"
    assert [VOC.locate(place) for place in (root, root / "VOCdevkit", home)] == [home] * 3
    with pytest.raises(
        UserError, match=r"JPEGImages: no folder VOCdevkit/VOC2012/SegmentationClass; fetch VOC"
    ):
        VOC.locate(home / "JPEGImages")
    with pytest.raises(UserError, match=r"nowhere: no such folder; fetch VOC"):
        VOC.locate(root / "nowhere")


def test_the_list_of_the_split_decides_and_its_order_stays(tmp_path):
    root = write_tree(tmp_path, "voc", [RAW, RAW, RAW])
    home = VOC.locate(root)
    (home / VOC.split).write_text("p_2\n\np_0  1\n")
    assert [item.uid for item in VOC.items(home, root)] == ["p_2", "p_0"]
    (home / VOC.split).unlink()
    with pytest.raises(UserError, match=r"no file ImageSets/Segmentation/val.txt; fetch VOC"):
        VOC.items(home, root)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("JPEGImages/p_1.jpg", "1 of 3 pictures are missing, such as that of p_1; fetch"),
        ("SegmentationClass/p_2.png", "1 of 3 masks are missing, such as that of p_2; fetch"),
    ],
)
def test_half_unpacked(tmp_path, gone, said):
    root = write_tree(tmp_path, "voc", [RAW] * 3)
    home = VOC.locate(root)
    (home / gone).unlink()
    with pytest.raises(UserError, match=said):
        VOC.items(home, root)


def test_subfolders_belong_to_the_name_and_hidden_files_to_nothing(tmp_path):
    layout = PUBLISHED["cityscapes"]
    for city, name in (("ulm", "b"), ("bonn", "c"), ("bonn", "._c")):
        picture(tmp_path / f"leftImg8bit/val/{city}/{name}_leftImg8bit.png")
        mask(tmp_path / f"gtFine/val/{city}/{name}_gtFine_labelIds.png", RAW)
    mask(tmp_path / "gtFine/val/bonn/c_gtFine_instanceIds.png", RAW)
    assert [item.uid for item in layout.items(tmp_path, tmp_path)] == ["bonn/c", "ulm/b"]


def test_own_folders_take_pictures_of_any_suffix(tmp_path):
    for name in ("a.JPG", "b.tiff", "c.d.webp"):
        picture(tmp_path / "images" / name.replace("JPG", "jpg"))
        mask(tmp_path / "masks" / (name.rsplit(".", 1)[0] + ".png"), RAW)
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "a.JPG")
    (tmp_path / "images" / "notes.txt").write_text("not a picture")
    found = OWN.items(tmp_path, tmp_path)
    assert [(item.uid, item.image.name) for item in found] == [
        ("a", "a.JPG"),
        ("b", "b.tiff"),
        ("c.d", "c.d.webp"),
    ]
    for item in found:
        item.mask.unlink()
    with pytest.raises(UserError, match=r"no mask masks/\*.png; put pictures into images"):
        OWN.items(tmp_path, tmp_path)


def test_names_of_classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbf 0: dog \r\ntall  grass\r\n\r\n")
    assert OWN.classes(tmp_path) == ("dog", "tall grass")
    assert replace(OWN, background=True).classes(tmp_path)[0] == "background"
    for data, said in (
        (b"dog\ncat\ndog\n", "'dog' occurs twice"),
        (b"\n\n", "has no class names"),
        (b"\xff", "cannot be"),
        (b"cat\n\ndog\n", "line 2 is 'empty'"),
        (b"1: cat\n2: dog\n", "line 1 is '1: cat'"),
        (b"0: cat\n5: dog\n", "line 2 is '5: dog'; expected one class per line in the order"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=said):
            OWN.classes(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"classes.txt: cannot be read"):
        OWN.classes(tmp_path)


def test_more_classes_than_a_byte_holds():
    table = OWN.labels(300)
    assert table[[0, 254, 255, 299, 300]].tolist() == [0, 254, 255, 299, -1]
    assert OWN.labels(255)[[254, 255]].tolist() == [254, OWN.ignore]
    with pytest.raises(UserError, match="expected 21 class names, found 5"):
        VOC.labels(5)
