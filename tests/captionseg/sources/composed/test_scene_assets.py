"""The table of cut-outs and textures, and how they are read from packages."""

import csv
import hashlib
import io
import re
import zipfile
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from captionseg.records import UserError
from captionseg.sources import photo_scenes
from captionseg.sources.composed import debian_packages, scene_assets
from captionseg.sources.composed.scene_assets import (
    Assets,
    brighten,
    fetch,
    list_packages,
    load,
    read_table_text,
    shrink,
)
from captionseg.text.vocabulary import tokens

ROWS = list(csv.DictReader(io.StringIO(read_table_text())))
SPLITS = {"train", "tune", "test"}


def singular(word: str) -> str:
    return word.removesuffix("s")


# ------------------------------------------------------------------------------------------------
# the table


def test_every_field_is_filled_and_well_formed() -> None:
    assert ROWS
    for row in ROWS:
        assert list(row) == [
            "package",
            "path",
            "class",
            "kind",
            "phrase",
            "splits",
            "licence",
            "author",
            "sha256",
        ]
        assert all(value and value == value.strip() for value in row.values()), row
        assert row["kind"] in ("object", "stuff")
        assert re.fullmatch(r"[0-9a-f]{64}", row["sha256"]), row
        assert set(row["splits"].split()) <= SPLITS
        assert re.fullmatch(r"[a-z][a-z0-9.+-]+", row["package"])
        assert not PurePosixPath(row["path"]).is_absolute()
        assert ".." not in PurePosixPath(row["path"].replace("!", "/")).parts


def test_no_asset_is_listed_twice() -> None:
    assert len({(row["package"], row["path"]) for row in ROWS}) == len(ROWS)
    assert max(Counter(row["sha256"] for row in ROWS).values()) == 1, (
        "a copy under another name is no held-out asset"
    )


def test_a_phrase_names_its_class_and_no_other() -> None:
    """Word for word: curation could not find the concept otherwise, and a second one would be a
    wrong caption.
    """
    classes = {row["class"] for row in ROWS}
    for row in ROWS:
        words = {singular(word) for word in tokens(row["phrase"])}
        assert words & {singular(name) for name in classes} == {singular(row["class"])}, row[
            "phrase"
        ]
        assert tokens(row["class"]) == [row["class"]]
        if row["kind"] == "object":
            article, following = row["phrase"].split()[:2]
            assert article not in ("a", "an") or (article == "an") == (following[0] in "aeiou"), (
                row["phrase"]
            )


def test_assets_are_held_out_wherever_a_class_has_two() -> None:
    by_class = defaultdict(list)
    for row in ROWS:
        by_class[row["class"], row["kind"]].append(set(row["splits"].split()))
    assert len({name for name, _ in by_class}) == len(by_class), "a class is an object or stuff"
    for name, splits in by_class.items():
        assert set.union(*splits) == SPLITS, f"{name} is missing in a split"
        if len(splits) > 1:
            assert not any("train" in s and s & {"tune", "test"} for s in splits), name


def test_the_grounds_of_scenes_are_stuff_and_all_of_it() -> None:
    stuff = {row["class"] for row in ROWS if row["kind"] == "stuff"}
    assert stuff == {*photo_scenes.ABOVE, *photo_scenes.BELOW}


def test_packages_are_those_of_the_table() -> None:
    assert list_packages() == sorted({row["package"] for row in ROWS})


# ------------------------------------------------------------------------------------------------
# reading


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked package with a cut-out (10 x 6 pixels seen of 20 x 20) and two textures in an
    archive.
    """
    cut_out = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    cut_out.paste((200, 0, 0, 255), (5, 8, 15, 14))
    files = {
        "ball.png": png(cut_out),
        "a/grass.png": png(Image.new("L", (8, 8), 7)),
        "a/sand.png": png(Image.new("RGB", (9, 9))),
    }
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "ball.png").write_bytes(files["ball.png"])
    with zipfile.ZipFile(tmp_path / "usr" / "all.jar", "w") as archive:
        for name in ("a/grass.png", "a/sand.png"):
            archive.writestr(name, files[name])
    lines = ["package,path,class,kind,phrase,splits,licence,author,sha256"]
    for path, name, kind in (
        ("all.jar!a/sand.png", "sand", "stuff"),
        ("ball.png", "ball", "object"),
        ("all.jar!a/grass.png", "grass", "stuff"),
    ):
        digest = hashlib.sha256(files[path.split("!")[-1]]).hexdigest()
        lines.append(f"toys,usr/{path},{name},{kind},a {name},train tune,GPL-2,Somebody,{digest}")
    monkeypatch.setattr(scene_assets, "read_table_text", lambda: "\n".join(lines) + "\n")
    return tmp_path


def test_load(package: Path) -> None:
    assets = load({"toys": package})
    assert assets.names == ("ball", "grass", "sand"), (
        "objects first, each kind in alphabetical order"
    )
    assert assets.kinds == ("object", "stuff", "stuff")
    (ball,) = assets.of("ball", "tune")
    assert (ball.pixels.mode, ball.pixels.size) == ("RGBA", (10, 6)), "cut to what is seen"
    assert np.asarray(ball.pixels)[..., 3].min() == 255
    (grass,) = assets.of("grass", "train")
    assert (grass.pixels.mode, grass.pixels.size) == ("RGB", (8, 8))
    assert assets.of("ball", "test") == assets.of("cat", "train") == []
    assert assets.items[0].splits == {"train", "tune"}


def test_fetch_asks_for_the_packages_of_the_table(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        debian_packages, "fetch", lambda wanted: {"toys": package} if wanted == ["toys"] else {}
    )
    assert fetch().names == ("ball", "grass", "sand")


def spoil_archive(package: Path, data: bytes | None) -> None:
    with zipfile.ZipFile(package / "usr" / "all.jar", "w") as archive:
        archive.writestr("a/grass.png" if data else "other", data or b"")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda p: (p / "usr" / "ball.png").write_bytes(b"another version"),
            r"ball\.png: not the file .*sha256 differs",
        ),
        (
            lambda p: (p / "usr" / "ball.png").unlink(),
            r"ball\.png: cannot be read .*another version of toys",
        ),
        (lambda p: (p / "usr" / "all.jar").unlink(), r"all\.jar: cannot be read"),
        (lambda p: (p / "usr" / "all.jar").write_bytes(b"no archive"), r"all\.jar: cannot be read"),
        (lambda p: spoil_archive(p, None), r"all\.jar: cannot be read .*sand\.png"),
    ],
)
def test_another_version_of_a_package_is_refused(package: Path, spoil, reason: str) -> None:
    """Scores on other pictures would not compare."""
    spoil(package)
    with pytest.raises(UserError, match=reason) as caught:
        load({"toys": package})
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------
# by hand


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((40, 20), 10, (10, 5)), ((20, 40), 80, (40, 80)), ((400, 1), 10, (10, 1))],
)
def test_shrink_makes_the_longer_side_fit(size, longest: int, expected) -> None:
    assert shrink(Image.new("RGBA", size), longest).size == expected


def test_brightened_stays_in_range() -> None:
    pixels = np.array([[[100, 200, 0]]], np.uint8)
    assert brighten(pixels, 1.5, np.ones(3, np.float32)).tolist() == [[[150.0, 255.0, 0.0]]]
    assert brighten(pixels, 0.5, np.array([1, 0.5, 2], np.float32)).tolist() == [
        [[50.0, 50.0, 0.0]]
    ]
    assert brighten(pixels, 1.0, np.ones(3, np.float32)).dtype == np.float32


def test_no_assets() -> None:
    assert Assets(()).names == Assets(()).kinds == ()
