"""The command `trace`: what it says of a pair, and one line for each mistake."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.captionseg.lineage.conftest import history, trace


def test_everything_about_a_pair(run, capsys):
    row = run.train[0]
    code, lines, err = trace(capsys, row["uid"])
    assert (code, err) == (0, "")
    assert lines[:6] == [
        f"uid: {row['uid']} (by uid)",
        "source row: captions.csv:2",
        "url: https://example.org/cat.jpg",
        "shard: 00000, key 000000000",
        "split: train",
        "outcome: success",
    ]
    assert f"original: 640 x 480 pixels, sha256 {row['original_sha256']}" in lines
    assert 'caption: "a cat"' in lines
    assert lines[lines.index("held-out captions:") + 1] == '  "held out"'
    assert lines[lines.index("neighbours:") + 1].startswith("  0.750  ")
    rules = lines.index("rules:")
    assert lines[rules + 1 : rules + 5] == [
        "  cocu: dropped, duplicate of \\x07 something",
        "    cat: score 1.500, score_a 0.500, weight 1.000, support 3",
        "  nouns",
        "    cat: score 1.500, score_a 0.500, weight 1.000, support 3",
    ]
    assert '  abababababab  50 % of the picture: "the \\x1bcat" (phrase)' in lines
    assert lines[-4:] == [
        "recipes:",
        "  cocu-mil: not trained on it, dropped by cocu: duplicate of \\x07 something",
        "  frozen: not trained on it, this model learns nothing from pairs",
        "  nouns-mil: trained on it, kept by nouns",
    ]


def test_several_pairs_are_listed_a_line_each(run, capsys):
    code, lines, _ = trace(capsys, "https://example.org/cat.jpg")
    assert code == 0
    assert [line.split()[0] for line in lines] == [row["uid"] for row in run.train[:2]]
    assert lines[1].endswith('captions.csv:3  "a cat sleeps"  by url')
    found = history(capsys, "cat.jpg")["matches"]
    assert [row["caption"] for row in found] == ["a cat", "a cat sleeps"]


def test_a_row_that_failed(run, capsys):
    _, lines, _ = trace(capsys, "gone.jpg")
    assert "outcome: failed_to_download: not_found (404 \\x1b[2J)" in lines
    assert "picture: -, sha256 -, perceptual hash -" in lines
    assert "rules: none" in lines
    assert "  nouns-mil: not trained on it, no picture came of the row" in lines


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("data/index", "neighbours: not made yet: `dvc repro index`"),
        ("data/supervision", "rules: not made yet: `dvc repro curate`"),
        ("data/segments", "segments: not made yet: `dvc repro segment_text`"),
        ("models", "recipes: not made yet: `dvc repro pretrain`"),
    ],
)
def test_what_is_not_made_yet_names_its_stage(run, capsys, folder, line):
    shutil.rmtree(run.root / folder)
    code, lines, _ = trace(capsys, run.train[0]["uid"])
    assert code == 0
    assert line in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([" "], "UID|PICTURE: nothing to look for"),
        (["cat.jpg", "-k", "-1"], "-k: -1 is below 0"),
        (["nothing\x1b[2J of the kind"], "no pair of data/pairs has this uid"),
        (["x" * 5000], "no pair of data/pairs has this uid"),
        (
            ["cat", "--data", "nowhere"],
            "nowhere/pairs: no finished shard; run `dvc repro download`",
        ),
        (["text.jpg"], "text.jpg: not a picture that can be read"),
        (["empty.jpg"], "empty.jpg: cannot be read: empty file"),
    ],
)
def test_mistakes_are_one_line(run, capsys, words, message):
    (run.root / "text.jpg").write_text("no picture")
    (run.root / "empty.jpg").write_bytes(b"")
    code, lines, err = trace(capsys, *words)
    assert (code, lines, err.count("\n")) == (1, [], 1)
    assert message in err
    assert err.strip().isprintable()


def test_torch_is_not_imported(run):
    code = (
        "import sys; from captionseg import cli; "
        f"assert cli.main(['trace', '{run.train[0]['uid']}']) == 0; "
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=run.root)
    assert done.returncode == 0, done.stderr.decode()
