"""The command `trace`: which pair it finds, what it says of it, and one line for each mistake."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg import cli
from captionseg.lineage.lookup import find_near
from tests.captionseg.lineage.conftest import HOSTILE, draw


def trace(capsys, *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    code = cli.main(["trace", *words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def history(capsys, *words: str) -> dict:
    code, lines, _ = trace(capsys, *words, "--json")
    assert code == 0
    return json.loads("\n".join(lines))


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


def test_json_says_the_same(run, capsys):
    found = history(capsys, run.train[0]["uid"], "-k", "0")
    assert found["pair"] == {**run.train[0], "shard": "00000"}
    assert found["neighbours"] == []
    assert found["rules"]["nouns"]["concepts"][0]["score_b"] is None
    assert [(r["recipe"], r["trained"], r["seeds"]) for r in found["recipes"]] == [
        ("cocu-mil", False, [3]),
        ("frozen", False, [3]),
        ("nouns-mil", True, [3]),
    ]


@pytest.mark.parametrize(
    ("wanted", "by"),
    [
        ("captions.csv:4", "source row"),
        ("https://example.org/dog.jpg", "url"),
        ("dog.jpg", "url"),
        ("000000002", "key"),
        ("UID", "uid"),
    ],
)
def test_a_pair_is_found_by(run, capsys, wanted, by):
    row = run.train[2]
    wanted = row["uid"][:8] if wanted == "UID" else wanted
    found = history(capsys, wanted)
    assert (found["pair"]["uid"], found["matched"]["by"]) == (row["uid"], by)


def test_a_picture_is_found_by_its_bytes_else_by_its_look(run, capsys):
    jpeg = draw("dog")
    (run.root / "given.jpg").write_bytes(jpeg)
    assert history(capsys, "given.jpg")["matched"]["by"] == "bytes of the picture"
    (run.root / "original.jpg").write_bytes(jpeg + b"original")
    assert history(capsys, "original.jpg")["matched"]["by"] == "bytes of the picture"
    with Image.open(io.BytesIO(jpeg)) as image:
        image.resize((300, 225)).save(run.root / "larger.png")
    found = history(capsys, "larger.png")
    assert (found["pair"]["uid"], found["matched"]["by"]) == (
        run.train[2]["uid"],
        "look of the picture",
    )
    (run.root / "other.jpg").write_bytes(draw("nobody has seen this"))
    code, _, err = trace(capsys, "other.jpg")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("error: other.jpg: no pair of data/pairs has this")


def test_several_pairs_are_listed_a_line_each(run, capsys):
    code, lines, _ = trace(capsys, "https://example.org/cat.jpg")
    assert code == 0
    assert [line.split()[0] for line in lines] == [row["uid"] for row in run.train[:2]]
    assert lines[1].endswith('captions.csv:3  "a cat sleeps"  by url')
    found = history(capsys, "cat.jpg")["matches"]
    assert [row["caption"] for row in found] == ["a cat", "a cat sleeps"]


def test_duplicates(run, capsys):
    same = history(capsys, run.test[0]["uid"])["duplicates"]
    assert [(row["uid"], row["by"]) for row in same] == [
        (run.train[0]["uid"], "bytes"),
        (run.train[1]["uid"], "bytes"),
    ]
    line = next(
        x for x in trace(capsys, run.test[0]["uid"])[1] if x.startswith("  ") and "same" in x
    )
    assert line.endswith('same bytes  https://example.org/cat.jpg  "a cat"')
    recipes = history(capsys, run.test[0]["uid"])["recipes"]
    assert {(r["trained"], r["why"]) for r in recipes} == {(False, "of the test split")}


def test_a_row_that_failed(run, capsys):
    _, lines, _ = trace(capsys, "gone.jpg")
    assert "outcome: failed_to_download: not_found (404 \\x1b[2J)" in lines
    assert "picture: -, sha256 -, perceptual hash -" in lines
    assert "rules: none" in lines
    assert "  nouns-mil: not trained on it, no picture came of the row" in lines


def test_no_character_acts_on_the_terminal(run, capsys):
    assert run.train[3]["caption"] == HOSTILE
    code, lines, _ = trace(capsys, run.train[3]["uid"])
    assert code == 0
    assert all(line.isprintable() for line in lines)
    assert (
        'caption: "\u732b \U0001f408 caf\u00e9 '
        '\\x1b[31m\\u202egod\\u2066\\x00\\x9b2J\\nnext"' in lines
    )
    assert history(capsys, run.train[3]["uid"])["pair"]["caption"] == HOSTILE


def test_an_ascii_terminal_hears_everything_too(run):
    done = subprocess.run(
        [sys.executable, "-m", "captionseg", "trace", run.train[3]["uid"]],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path), "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    assert b'caption: "\\u732b \\U0001f408 caf\\xe9' in done.stdout


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


def test_other_pairs_than_a_recipe_was_trained_on(run, capsys):
    path = run.root / "models" / "nouns-mil" / "config.json"
    path.write_text(path.read_text().replace('"ids": "', '"ids": "0'))
    found = {r["recipe"]: r for r in history(capsys, run.train[0]["uid"])["recipes"]}
    assert found["nouns-mil"]["trained"] is None
    assert found["nouns-mil"]["why"].startswith("trained on other pairs than those of data/index")


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


def test_pairs_of_an_older_version(run, capsys):
    path = run.root / "data" / "pairs" / "00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["source_row", "phash"]), path)
    code, _, err = trace(capsys, "cat.jpg")
    assert code == 1
    assert err == (
        "error: data/pairs/00000.parquet: it has no column source_row; made by an older version: "
        "run `dvc repro`\n"
    )


def test_bits_are_counted():
    import pyarrow as pa

    hashes = pa.chunked_array([["00000000000000ff", None], ["000000000000000f"]])
    assert [*find_near(hashes, "0000000000000000", 8)] == [(0, 8), (2, 4)]
    assert [*find_near(hashes, "0000000000000000", 4)] == [(2, 4)]


def test_torch_is_not_imported(run):
    code = (
        "import sys; from captionseg import cli; "
        f"assert cli.main(['trace', '{run.train[0]['uid']}']) == 0; "
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=run.root)
    assert done.returncode == 0, done.stderr.decode()
