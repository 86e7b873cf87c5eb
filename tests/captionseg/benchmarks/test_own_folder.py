"""A folder of one's own scores what its owner meant, or says in a line what it scores instead."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.own_folder import parse_values
from captionseg.benchmarks.published.catalogue import PUBLISHED, open_benchmark
from captionseg.cli import main
from captionseg.images import SUFFIXES
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import mask, picture, write_tree

OWN = PUBLISHED["folder"]
RAW = np.tile(np.arange(3), (6, 4))


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path, "folder", [RAW] * 3)


def classes(root, text: str) -> tuple[str, ...]:
    (root / "classes.txt").write_text(text)
    return FolderBenchmark.open(OWN, root).names


@pytest.mark.parametrize(
    "text",
    [
        "dog\ncat\ngrass\n",
        "0,dog\n1,cat\n2,grass\n",
        "id,name\n0,dog\n1,cat\n2,grass\n",
        "0;dog\r\n1;cat\r\n2;grass",
        "value\tclass\n0\tdog\n1\tcat\n2\tgrass",
        "0 dog\n1 cat\n2 grass\n",
        "0: dog\n1: cat\n2: grass",
        "# my classes\ndog\n# of the garden\ncat\ngrass\n",
        '"dog"\n"cat"\n"grass"\n',
        "__ignore__\ndog\ncat\ngrass\n",
        "# ignore: 255\ndog\ncat\ngrass\n",
        '"0","dog"\n"1","cat"\n"2","grass"\n',
        "0. dog\n1. cat\n2. grass",
    ],
)
def test_lists_of_classes_as_people_write_them(root, text):
    assert classes(root, text) == ("dog", "cat", "grass")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name\ndog\ncat\n",
            "line 1 is 'name', which looks like a heading, not class 0; delete it",
        ),
        ("name,r,g,b\ndog,1,2,3\ncat,4,5,6\n", "'dog,1,2,3' is more than a class name"),
        ("dog,0\ncat,1\ngrass,2\n", "'dog,0' is more than a class name"),
        ("dog, cat, grass", "all names are on one line"),
        ('["dog", "cat"]', "is more than a class name"),
        ("- dog\n- cat\n- grass\n", "'- dog' is more"),
        ("1,dog\n2,cat\n3,grass\n", "in the order of their numbers, from 0"),
        ("0,dog\n2,cat\n1,grass\n", "in the order of their numbers"),
        ("Dog\ndog\ncat\n", "twice"),
        ("d\0o\0g\0\nc\0a\0t\0\n", "is more than a class name"),
        ("# ignore: sky\ndog\ncat\n", "not a list of mask values"),
    ],
)
def test_lists_that_would_shift_numbers_are_refused(root, text, said):
    with pytest.raises(UserError, match=said) as caught:
        classes(root, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spelt", ["background", "Background", "BACKGROUND", " _background_ ", "0: Background"]
)
def test_the_background_however_it_is_spelt(root, spelt):
    (root / "classes.txt").write_text(
        f"{spelt}\n" + ("1: cat\n2: grass" if ":" in spelt else "cat\ngrass")
    )
    found = FolderBenchmark.open(OWN, root)
    assert found.names == ("background", "cat", "grass")
    assert found.background


def test_a_background_that_is_not_the_first_and_classes_that_mean_none_are_said(root):
    (root / "classes.txt").write_text("Unlabeled\ncat; kitten\nBackground\n")
    assert FolderBenchmark.open(OWN, root).remarks == (
        "background is not the first class, so it is prompted like any other word",
        "cat; kitten: prompted as one text; only `captionseg segment` takes several names of a "
        "label",
        "Unlabeled: scored like any other class; use --ignore to ignore pixels with its value",
    )


def test_masks_in_capital_letters_and_names_composed_in_another_way(tmp_path):
    write_tree(tmp_path, "folder", [RAW] * 2)
    (tmp_path / "masks/p_0.png").rename(tmp_path / "masks/p_0.PNG")
    (tmp_path / "masks/p_1.png").rename(tmp_path / "masks/\u00e9.png")
    (tmp_path / "images/p_1.webp").rename(tmp_path / "images/e\u0301.WEBP")
    found = FolderBenchmark.open(OWN, tmp_path)
    assert ([item.uid for item in found.items], found.remarks) == (["p_0", "\u00e9"], ())
    mask(tmp_path / "masks/p_0.png", RAW)
    with pytest.raises(UserError, match=r"p_0\.png: same name as p_0\.PNG; remove one of them"):
        FolderBenchmark.open(OWN, tmp_path)


@pytest.mark.parametrize("how", ["argument", "line of classes.txt"])
def test_values_that_count_nowhere_can_be_named(root, how):
    """0 is left out, and is no class that could be predicted; 7 is not refused; by hand a third of
    two masks and all of the other count nowhere."""
    mask(root / "masks/p_1.png", np.full_like(RAW, 7))
    if how != "argument":
        (root / "classes.txt").write_text("# ignore: 0, 7\nvoid\ncat\ngrass\n")
    found = open_benchmark(OWN, root, ignore="0,7" if how == "argument" else None)[0]
    assert found.names == ("cat", "grass")
    truths = [sample.truth for sample in found.samples()]
    assert (truths[0] == np.array([found.ignore, 0, 1])[RAW]).all()
    assert (truths[1] == found.ignore).all()
    assert found.remarks == (
        f"{'dog' if how == 'argument' else 'void'}: not scored, because pixels with its value are "
        "ignored",
        "55.6 % of pixels are ignored (value 0, 7)",
        "1 of 3 masks have only ignored pixels, such as p_1.png",
    )


def test_255_is_no_longer_left_out_where_another_value_is_named(root):
    mask(root / "masks/p_1.png", np.full_like(RAW, 255))
    with pytest.raises(
        UserError, match=r"p_1\.png: value 255 is not one of .* use --ignore for values to ignore"
    ):
        open_benchmark(OWN, root, ignore="0")


@pytest.mark.parametrize("text", ["", "sky", "-1", "65536", "0;1", "1.5", "²"])
def test_what_is_no_list_of_values(text):
    with pytest.raises(UserError, match=r"--ignore: .*not a list of mask values"):
        parse_values(text, "--ignore")


def test_not_all_classes_can_be_ignored(root):
    with pytest.raises(UserError, match=r"classes\.txt: the values of all 3 classes are ignored"):
        open_benchmark(OWN, root, ignore="0,1,2,255")


def test_what_masks_of_published_benchmarks_mean_is_not_for_users_to_say(tmp_path):
    with pytest.raises(
        UserError,
        match="--ignore: only for --benchmark folder; the mask values of Pascal VOC 2012 are fixed",
    ):
        open_benchmark(PUBLISHED["voc"], tmp_path, ignore="0")


def test_what_a_score_leaves_out_is_said(root):
    """A picture without a mask, files that are neither, classes that never occur, pixels that count
    nowhere.
    """
    picture(root / "images/lonely.jpg")
    (root / "masks/readme.txt").write_text("made by hand")
    (root / "images/.hidden").touch()
    (root / "classes.txt").write_text("dog\ncat\ngrass\nbear\n")
    for number in range(3):
        mask(root / f"masks/p_{number}.png", np.where(RAW == 2, 255, RAW))
    assert FolderBenchmark.open(OWN, root).remarks == (
        "1 picture without a mask: not scored, such as lonely.jpg",
        "1 file passed over, such as masks/readme.txt",
        "33.3 % of pixels are ignored (value 255)",
        "2 of 4 classes are in no mask: grass, bear; if one is predicted, it counts as 0 in mIoU",
    )


def test_masks_of_black_and_white(root):
    """Saved as 0 and 255 by a painting program: all of the second class would count nowhere."""
    for number in range(3):
        mask(root / f"masks/p_{number}.png", np.where(RAW == 1, 255, 0), "L")
    (root / "classes.txt").write_text("background\ndog\n")
    assert FolderBenchmark.open(OWN, root).remarks[-1] == (
        "masks contain only 0 and 255, and 255 is ignored; if it means a class, use the class "
        "number instead"
    )
    for number in range(3):
        mask(root / f"masks/p_{number}.png", np.full_like(RAW, 255), "L")
    with pytest.raises(UserError, match="all masks contain only 255, which is ignored"):
        FolderBenchmark.open(OWN, root)


def test_colours_and_pictures_without_partners_are_refused(root):
    Image.fromarray(np.zeros((6, 12, 3), np.uint8)).save(root / "masks/p_0.png")
    with pytest.raises(UserError, match=r"p_0\.png: expected class numbers, found colours \(RGB\)"):
        FolderBenchmark.open(OWN, root)
    (root / "images/p_0.webp").unlink()
    with pytest.raises(UserError, match="1 of 3 pictures are missing, such as that of p_0"):
        FolderBenchmark.open(OWN, root)


def test_a_picture_of_every_suffix_is_found(tmp_path):
    for suffix in SUFFIXES:
        Image.new("RGB", (12, 6)).save(tmp_path / "x", "PNG")
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "x").rename(tmp_path / "images" / f"{suffix[1:]}{suffix.upper()}")
        mask(tmp_path / "masks" / f"{suffix[1:]}.png", RAW)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert len(FolderBenchmark.open(OWN, tmp_path)) == len(SUFFIXES)


def test_the_command_says_it_on_stderr_and_in_its_result(root, capsys, monkeypatch, tmp_path):
    result = {
        "scores": {"miou": 1.0},
        "per_class": {"dog": 1.0},
        "seeds": {},
        "protocol": {"prompts": "p", "refine": "n"},
    }
    monkeypatch.setattr(
        "captionseg.benchmarks.score_saved_models.evaluate", lambda *rest: (result, 1.0, {})
    )
    (root / "classes.txt").write_text("dog\ncat\ngrass\nbear\n")
    out = tmp_path / "result.json"
    assert (
        main(
            [
                "evaluate",
                "--benchmark",
                "folder",
                "--root",
                str(root),
                "--ignore",
                "0",
                "--out",
                str(out),
                "--model",
                "models/a",
            ]
        )
        == 0
    )
    lines = [
        "dog: not scored, because pixels with its value are ignored",
        "33.3 % of pixels are ignored (value 0)",
        "1 of 3 classes are in no mask: bear; if one is predicted, it counts as 0 in mIoU",
    ]
    assert capsys.readouterr().err.splitlines()[:3] == [f"note: {line}" for line in lines]
    assert json.loads(out.read_text())["remarks"] == lines


def test_only_ends_of_lines_separate_classes(root):
    """A form feed or Unicode's line separator within a name shifts no number, and what cannot be
    seen makes no other class."""
    assert classes(root, "do\u200bg\nsea\u2028lion\nhigh\x0cgrass\r\n") == (
        "dog",
        "sea lion",
        "high grass",
    )
    for alike in ("cafe\u0301", "caf\u00e9\u200b", "\uff43af\u00e9"):
        with pytest.raises(UserError, match="occurs twice"):
            classes(root, f"caf\u00e9\n{alike}\ngrass\n")


def test_masks_are_turned_as_their_pictures_are(tmp_path):
    """By hand: 3, rotated by 180 degrees; 6, rotated to the right."""
    exif = Image.Exif()
    for orientation, upright in ((3, RAW[::-1, ::-1]), (6, np.rot90(RAW, -1))):
        write_tree(tmp_path, "folder", [RAW])
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((*RAW.shape, 3), np.uint8)).save(
            tmp_path / "images/p_0.webp", exif=exif
        )
        Image.fromarray(RAW.astype(np.uint8)).save(tmp_path / "masks/p_0.png", exif=exif)
        found = FolderBenchmark.open(OWN, tmp_path)
        np.testing.assert_array_equal(next(found.samples()).truth, upright)
        assert found.remarks == (
            "1 of 1 pictures are turned upright by their EXIF orientation, such as p_0.webp; "
            "their masks have to be upright too",
        )
    mask(tmp_path / "masks/p_0.png", RAW)
    with pytest.raises(UserError, match="12 x 6 pixels, but its picture is 6 x 12, upright by its"):
        next(FolderBenchmark.open(OWN, tmp_path).samples())
