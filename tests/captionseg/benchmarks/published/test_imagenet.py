"""ImageNet-1k in folders and as it comes: numbers of classes, and what half of it is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from captionseg.benchmarks.published.imagenet import DEVKIT, META, TRUTH, ImageNet
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import picture, write_imagenet


def test_the_order_of_folders_is_the_number_of_a_class(tmp_path):
    root = write_imagenet(tmp_path, [0, 999, 3, 3])
    (root / "val" / "n00000003" / "notes.txt").write_text("no picture")
    for place in (root, root / "val"):
        benchmark, total = ImageNet().open(place, limit=9)
        assert total == len(benchmark) == 4
        assert [item.label for item in benchmark.items] == [0, 3, 3, 999]
    assert benchmark.names[0] == "tench"
    assert benchmark.names[999] == "toilet paper"
    assert len(benchmark.names) == 1000
    assert [item.label for item in ImageNet().open(root, limit=2)[0].items] == [0, 999]


def kit(root: Path, truth: list[int]) -> None:
    """The development kit: ids from 1 in an order that is not WordNet's, and inner nodes after
    them.
    """
    rows = np.zeros(1002, [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    for number in range(1002):
        rows[number] = (
            number + 1,
            f"n{(7 * number) % 1000 if number < 1000 else number:08d}",
            "a word",
        )
    (root / DEVKIT).mkdir(parents=True)
    savemat(root / DEVKIT / META, {"synsets": rows})
    (root / DEVKIT / TRUTH).write_text("".join(f"{number}\n" for number in truth))


def test_the_archive_as_it_comes(tmp_path):
    """Class 7 n mod 1000 has the id n + 1."""
    for number in (1, 2, 3):
        picture(tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    kit(tmp_path, [1, 2, 201])
    for place in (tmp_path, tmp_path / "val"):
        benchmark, total = ImageNet().open(place, limit=5)
        assert (total, [item.label for item in benchmark.items]) == (3, [0, 7, 400])
    picture(tmp_path / "val" / "ILSVRC2012_val_00000004.JPEG")
    with pytest.raises(UserError, match="not one of the 3 pictures"):
        ImageNet().open(tmp_path, limit=5)
    for text, said in (
        ("1 2 x", "are not those of ImageNet"),
        ("1 2 1001", "are not those of ImageNet"),
    ):
        (tmp_path / DEVKIT / TRUTH).write_text(text)
        with pytest.raises(UserError, match=said):
            ImageNet().open(tmp_path, limit=5)
    (tmp_path / DEVKIT / META).write_text("no table")
    with pytest.raises(UserError, match="are not those of ImageNet"):
        ImageNet().open(tmp_path, limit=5)
    shutil.rmtree(tmp_path / DEVKIT)
    with pytest.raises(UserError, match=r"no file .*ground_truth.txt; fetch ILSVRC2012"):
        ImageNet().open(tmp_path, limit=5)


def test_half_unpacked_is_one_line(tmp_path):
    root = write_imagenet(tmp_path, [0, 1])
    with pytest.raises(
        UserError, match="expected 50000 pictures, found 2; use --limit to score fewer; fetch"
    ):
        ImageNet().open(root)
    shutil.rmtree(root / "val" / "n00000005")
    with pytest.raises(UserError, match="expected 1000 folders of classes, found 999; their order"):
        ImageNet().open(root, limit=2)
    with pytest.raises(UserError, match="expected 50000 pictures, found 0; fetch"):
        ImageNet().open(tmp_path / "nowhere", limit=2)
