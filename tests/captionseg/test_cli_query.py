"""The command `query-segments`: what it finds and prints, and one line for each mistake."""

import pytest
from PIL import Image

from captionseg import cli
from tests.captionseg.test_cli import said


def test_query_segments(searchable, tmp_path, capsys):
    given = [
        "--model",
        str(searchable.model),
        "--segments",
        str(searchable.segments),
        "--device",
        "cpu",
        "--index",
        str(tmp_path / "index"),
        "--out",
        str(tmp_path / "found.png"),
    ]
    assert cli.main(["query-segments", " a  dog ", "-k", "3", *given]) == 0
    out, err = said(capsys)
    assert len(out) == 5
    assert all(line.endswith("  a dog | something") and ".tar:" in line for line in out[1:4])
    assert [line.split()[0] for line in out[1:4]] == ["1", "2", "3"]
    assert out[4] == str(tmp_path / "found.png")
    assert "segment index" in err[-1]
    with Image.open(tmp_path / "found.png") as image:
        assert (image.format, image.width > 448) == ("PNG", True)
    before = (tmp_path / "index" / "index.json").stat().st_mtime_ns
    (tmp_path / "found.png").unlink()
    assert cli.main(["query-segments", "a dog", "--min-score", "1.1", *given]) == 0
    out, err = said(capsys)
    assert (len(out), err) == (1, [])  # nothing is embedded again
    assert out[0].startswith(
        f"none of {len(searchable.classes)} segments scores 1.1 or more; the best score is 0."
    )
    assert not (tmp_path / "found.png").exists()
    assert (tmp_path / "index" / "index.json").stat().st_mtime_ns == before


def test_the_index_lies_beside_the_segments(searchable, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    for folder in searchable.data.iterdir():
        if folder != searchable.model:
            (tmp_path / "data" / folder.name).symlink_to(folder)
    given = [
        "--model",
        str(searchable.model),
        "--segments",
        str(tmp_path / "data" / "segments"),
        "--device",
        "cpu",
    ]
    assert cli.main(["query-segments", "a cat", "--out", str(tmp_path / "x.jpg"), *given]) == 0
    assert len(said(capsys)[0]) == 22
    assert (tmp_path / "data" / "segment_index" / "use" / "index.faiss").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "text: empty"),
        (["dog", "-k", "0"], "-k: expected at least 1, found 0"),
        (["dog", "--out", "found.txt"], "found.txt: unsupported image format"),
        (["dog", "--out", "FILE/found.png"], "is not a writable folder"),
        (
            ["dog", "--model", "nowhere"],
            "no such file; train a model first (`make experiment NAME=segments`)",
        ),
        (["dog", "--min-score", "nan"], "--min-score: 'nan' is not a number"),
        (["dog", "--segments", "nowhere/segments"], "nowhere/segments: no segments; run"),
        (["dog", "--model", "MIL"], "model segment_mil cannot embed segments"),
    ],
)
def test_mistakes_of_a_query_are_one_line(
    searchable, tmp_path, capsys, monkeypatch, arguments, message
):
    from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
    from captionseg.modeling.weights import saved

    monkeypatch.chdir(tmp_path)
    saved.save(
        tmp_path / "MIL", "segment_mil", SegmentMil(SegmentMilConfig(8, 16, hidden=8, width=4)), {}
    )
    (tmp_path / "FILE").write_text("")
    before = sorted(tmp_path.rglob("*"))
    defaults = [
        "--model",
        str(searchable.model),
        "--segments",
        str(searchable.segments),
        "--index",
        "index",
    ]
    assert cli.main(["query-segments", *defaults, *arguments]) == 1
    out, err = said(capsys)
    assert (out, len(err)) == ([], 1)
    assert err[0].startswith("error: ")
    assert message in err[0]
    assert sorted(tmp_path.rglob("*")) == before
