"""PartImageNet as unpacked: names, where pictures may lie, what is missing."""

from __future__ import annotations

import json

import pytest

from captionseg.benchmarks.published.part_imagenet import PartImageNet
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import write_parts


@pytest.fixture
def root(tmp_path):
    return write_parts(tmp_path / "PartImageNet")


def test_parts_among_things_and_stuff(root):
    for place in (root, root.parent):
        found, total = PartImageNet(count=2).open(place)
        assert (len(found), total, found.scored) == (2, 2, 3)
        assert found.names[:5] == (
            "quadruped head",
            "quadruped body",
            "car tire",
            "quadruped",
            "biped",
        )
        assert len(found.names) == 3 + 11 + 91
        assert found.names[14] == "banner"
    assert [len(item.instances) for item in PartImageNet().open(root, limit=1)[0].items] == [2]


def test_other_places(root):
    """annotations/val.json, and pictures in folders of their classes or all in one."""
    (root / "annotations" / "val" / "val.json").rename(root / "annotations" / "val.json")
    (root / "images" / "val" / "n01").mkdir()
    (root / "images" / "val" / "n01_0.JPEG").rename(root / "images" / "val" / "n01" / "n01_0.JPEG")
    (root / "images" / "val" / "n01_1.JPEG").rename(root / "images" / "n01_1.JPEG")
    found, _ = PartImageNet(count=2).open(root)
    assert [item.image.parent.name for item in found.items] == ["n01", "images"]


@pytest.mark.parametrize("name", ["../../secret.JPEG", "/etc/hostname"])
def test_names_that_lead_elsewhere_are_no_pictures(root, name):
    path = root / "annotations" / "val" / "val.json"
    table = json.loads(path.read_text())
    table["images"][0]["file_name"] = name
    (root.parent / "secret.JPEG").write_text("")
    path.write_text(json.dumps(table))
    with pytest.raises(UserError, match="no picture images/val/"):
        PartImageNet(count=2).open(root)


def test_half_unpacked_is_one_line(root):
    (root / "images" / "val" / "n01_1.JPEG").unlink()
    with pytest.raises(
        UserError,
        match=r"no picture images/val/n01_1.JPEG; fetch PartImageNet .*, so that .* holds",
    ):
        PartImageNet(count=2).open(root)
    with pytest.raises(UserError, match=r"no file annotations/val.json; fetch PartImageNet"):
        PartImageNet().open(root / "images")
