"""The command line: what it writes and says, and one line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg import cli, inference

ROOT = Path(__file__).parents[2]


class Halves:
    """A predictor that calls the left quarter of a picture by the first label and the rest by the
    last.

    Asked for a background, it finds that share of it at the top.
    """

    asked: list = []  # noqa: RUF012
    protocol = None

    def __init__(self, background):
        self.background = background

    @staticmethod
    def load(folder, *, device, background, protocol):
        Halves.asked.append((folder, device))
        Halves.protocol = protocol
        return Halves(background)

    def segment(self, image, labels):
        found = np.full(image.shape[:2], len(labels) - 1, np.int16)
        found[:, : image.shape[1] // 4] = 0
        found[: round(image.shape[0] * (self.background or 0))] = -1
        return found


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "Predictor", Halves)
    path = tmp_path / "zebra.jpg"
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(path)
    return path


def said(capsys):
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_segment_writes_the_overlay_beside_the_picture_and_prints_shares(picture, capsys):
    arguments = ["--labels", "zebra, tall  grass,zebra,", "--model", "m", "--device", "cpu"]
    assert cli.main(["segment", str(picture), *arguments]) == 0
    out, err = said(capsys)
    assert out == [
        "tall grass   75.0 %",
        "zebra        25.0 %",
        str(picture.with_name("zebra_segments.png")),
    ]
    assert err == []
    assert Halves.asked[-1] == (Path("m"), "cpu")
    with Image.open(picture.with_name("zebra_segments.png")) as image:
        assert image.format == "PNG"
        assert image.width == 80
        assert image.height > 60  # the legend is below
        left, right = (image.getpixel((x, 30)) for x in (5, 70))
    assert left != right
    assert sorted(p.name for p in picture.parent.iterdir()) == ["zebra.jpg", "zebra_segments.png"]


@pytest.mark.parametrize(
    ("background", "shares"),
    [
        ("0.2", ["grass          60.0 %", "zebra          20.0 %", "(background)   20.0 %"]),
        ("0", ["grass          75.0 %", "zebra          25.0 %", "(background)    0.0 %"]),
        ("1", ["zebra           0.0 %", "grass           0.0 %", "(background)  100.0 %"]),
    ],
)
def test_the_background_has_a_share_of_the_picture_too(picture, capsys, background, shares):
    assert (
        cli.main(["segment", str(picture), "--labels", "zebra,grass", "--background", background])
        == 0
    )
    assert said(capsys)[0][:-1] == shares


@pytest.mark.parametrize(
    ("arguments", "refine", "masks"),
    [
        ([], None, None),
        (["--refine", "pamr"], "pamr", None),
        (["--masks", "hierarchy"], None, "hierarchy"),
    ],
)
def test_what_is_not_asked_for_is_as_the_model_was_saved(picture, arguments, refine, masks):
    assert cli.main(["segment", str(picture), "--labels", "zebra", *arguments]) == 0
    protocol = Halves.protocol
    assert (
        protocol.refine and protocol.refine.method,
        protocol.masks and protocol.masks.maker,
    ) == (refine, masks)


def test_segment_writes_the_labels_of_pixels(picture, tmp_path):
    mask, out = tmp_path / "labels.png", tmp_path / "deep" / "over.jpg"
    arguments = ["--labels", "a,b,c", "--mask", str(mask), "--out", str(out)]
    assert cli.main(["segment", str(picture), *arguments]) == 0
    labels = np.asarray(Image.open(mask))
    assert labels.shape == (60, 80)
    assert np.unique(labels).tolist() == [0, 2]
    assert (labels == 0).mean() == 0.25
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jpg", "--labels", "a"], "none.jpg: no such file"),
        (["PICTURE", "--labels", " , "], "--labels: give at least one"),
        (["PICTURE", "--labels", ",".join(map(str, range(256)))], "at most 255"),
        (["PICTURE", "--labels", "a", "--out", "over.doc"], "over.doc: not a name for a picture"),
        (
            ["PICTURE", "--labels", "a", "--mask", "labels.jpg"],
            "labels.jpg: labels are written as PNG",
        ),
        (
            ["PICTURE", "--labels", "a", "--out", "PICTURE"],
            "zebra.jpg: is the picture itself, which is never written",
        ),
        (
            ["PICTURE", "--labels", "a", "--out", "a.png", "--mask", "a.png"],
            "a.png: --mask and --out name one file",
        ),
        (
            ["PICTURE", "--labels", "a", "--background", "nan"],
            "--background: 'nan' is not a number from -1 to 1",
        ),
        (
            ["PICTURE", "--labels", "a", "--background", "2"],
            "--background: '2' is not a number from -1 to 1",
        ),
        ([".", "--labels", "a"], ".: a folder; name an image file"),
        (["PICTURE", "--labels", "a", "--out", f"{'x' * 300}.png"], "File name too long"),
    ],
)
def test_mistakes_are_one_line(picture, capsys, arguments, message):
    before = sorted(picture.parent.iterdir())
    assert cli.main(["segment", *[str(picture) if a == "PICTURE" else a for a in arguments]]) == 1
    out, err = said(capsys)
    assert out == []
    assert len(err) == 1
    assert err[0].startswith("error: ")
    assert message in err[0]
    assert sorted(picture.parent.iterdir()) == before


@pytest.mark.parametrize("option", ["--out", "--mask"])
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_the_picture_is_never_written_over(picture, capsys, option, link):
    """Whatever name leads to it."""
    source = picture.rename(picture.with_name("source.png"))
    before, other = source.read_bytes(), picture.with_name("other.png")
    getattr(other, link)(source)
    assert cli.main(["segment", str(source), "--labels", "a", option, str(other)]) == 1
    assert "is the picture itself" in said(capsys)[1][0]
    assert source.read_bytes() == before


def test_results_of_an_earlier_call_are_replaced(picture, capsys):
    out = picture.with_name("zebra_segments.png")
    out.write_text("of an earlier call")
    assert cli.main(["segment", str(picture), "--labels", "a"]) == 0
    with Image.open(out) as image:
        assert image.format == "PNG"


def test_a_model_that_is_not_there_is_one_line(tmp_path, capsys):
    path = tmp_path / "zebra.jpg"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    assert (
        cli.main(["segment", str(path), "--labels", "a", "--model", str(tmp_path / "models")]) == 1
    )
    assert "no such file; train a model first" in said(capsys)[1][0]


def test_params_of_the_repository_are_fine(capsys):
    assert cli.main(["check-params", str(ROOT / "params.yaml")]) == 0
    assert "fine" in said(capsys)[0][0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs: ", "  epoch: ", "pretrain.epoch: unknown parameter; did you mean 'epochs'?"),
        (".miou >= 3", ".miou => 3", "gate.cocu beats nouns: "),
    ],
)
def test_mistakes_in_params_are_one_line(tmp_path, capsys, old, new, message):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    assert cli.main(["check-params", str(tmp_path / "params.yaml")]) == 1
    out, err = said(capsys)
    assert (out, len(err)) == ([], 1)
    assert message in err[0]


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom captionseg.cli import main\ntry:\n    main(['--help'])\nexcept "
        "SystemExit as end:\n    assert end.code == 0\nprint(*(m for m in ('torch', 'numpy', "
        "'pyarrow', 'matplotlib', 'PIL', 'yaml') if m in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "segment" in done.stdout
    assert done.stdout.endswith("\n\n")  # and no module was named


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "captionseg", "segment", "none.jpg", "--labels", ","]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert (
        done.stderr == 'error: --labels: give at least one, for example --labels "zebra, grass"\n'
    )


def test_convert_both_ways(tmp_path, capsys):
    from captionseg.modeling import GroupViT, GroupViTConfig, saved
    from captionseg.typed import replaced

    encoder = {
        "tokens": "pixels",
        "size": 32,
        "width": 8,
        "heads": 2,
        "depths": [1, 1],
        "group_tokens": [4, 0],
        "groups": [4],
        "binding": "groupvit",
        "assign": "gumbel",
    }
    config = replaced(
        GroupViTConfig(),
        {
            "pool": "mean",
            "towers": {
                "encoder": encoder,
                "text": {"kind": "clip", "width": 8, "depth": 1, "heads": 2, "vocabulary": 49408},
                "hidden": 8,
                "embedding": 4,
                "norm": "batch",
            },
        },
        "small",
    )
    saved.save(tmp_path / "ours", "groupvit", GroupViT(config), {})
    assert cli.main(["convert", "groupvit", str(tmp_path / "ours"), str(tmp_path / "theirs")]) == 0
    assert cli.main(["convert", "groupvit", str(tmp_path / "theirs"), str(tmp_path / "again")]) == 0
    assert "a groupvit of captionseg" in capsys.readouterr().out
    again, before = (saved.load(tmp_path / name).model.state_dict() for name in ("again", "ours"))
    assert all((again[name] == before[name]).all() for name in before)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 70, 3), dtype=np.uint8)).save(
        picture
    )
    command = [
        "segment",
        str(picture),
        "--labels",
        "dog, cat",
        "--model",
        str(tmp_path / "again"),
        "--device",
        "cpu",
    ]
    for extra, left in (([], False), (["--background", "0.99"], True)):
        mask = tmp_path / "mask.png"
        assert cli.main([*command, "--mask", str(mask), *extra]) == 0
        assert (np.array(Image.open(mask)) == 255).any() == left  # no trained model is that sure
    thin = tmp_path / "thin.png"
    Image.fromarray(np.zeros((2, 600, 3), np.uint8)).save(thin)
    assert cli.main(["segment", str(thin), *command[2:]]) == 1
    assert "600 x 2 pixels: one side is more than 32 times the other" in capsys.readouterr().err
    assert cli.main([*command, "--masks", "hierarchy"]) == 1
    assert "a groupvit reads no segments; leave masks out" in capsys.readouterr().err
    assert cli.main(["convert", "groupvit", str(tmp_path / "nowhere"), str(tmp_path / "x")]) == 1
    assert "cannot be read" in capsys.readouterr().err


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
        f"no segment of {len(searchable.classes)} has a score of 1.1; the best has 0."
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
        ([" "], "text: nothing to look for"),
        (["dog", "-k", "0"], "-k: 0 segments are none"),
        (["dog", "--out", "found.txt"], "found.txt: not a name for a picture"),
        (["dog", "--out", "FILE/found.png"], "no folder that can be written to"),
        (["dog", "--model", "nowhere"], "no such file; train a model first (`make segments`)"),
        (["dog", "--min-score", "nan"], "--min-score: 'nan' is not a number"),
        (["dog", "--segments", "nowhere/segments"], "nowhere/segments: no segments; run"),
        (["dog", "--model", "MIL"], "a segment_mil embeds no segments"),
    ],
)
def test_mistakes_of_a_query_are_one_line(
    searchable, tmp_path, capsys, monkeypatch, arguments, message
):
    from captionseg.modeling import SegmentMil, SegmentMilConfig, saved

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


def found(seeds: dict[str, float]):
    """What an evaluation comes to."""
    from captionseg.benchmarks.outside import Found

    return Found(
        {
            "scores": {
                "miou": 25.0,
                "miou_low": 24.0,
                "miou_high": 26.0,
                "miou_std": 0.5,
                "pixel_accuracy": 50.0,
            },
            "per_class": {"dog": 25.0},
            "seeds": seeds,
            "protocol": {
                "prompts": "simple",
                "refine": "none",
                "windows": None,
                "masks": None,
                "background": {"policy": "word", "score": None},
            },
        },
        2.0,
    )


def test_evaluate(tmp_path, capsys, monkeypatch):
    """Small VOC, as unpacked; half of the pixels are right. Other words for the rest are checked in
    benchmarks/.
    """
    from captionseg.benchmarks import outside
    from tests.captionseg.benchmarks.trees import write_tree

    asked = []

    def fake(folders, encoder, benchmark, how):
        asked.append((folders, encoder, len(benchmark), how))
        return found({"": 25.0})

    monkeypatch.setattr(outside, "evaluate", fake)
    root, out = write_tree(tmp_path, "voc", [np.zeros((4, 5), int)] * 3), tmp_path / "scores.json"
    command = [
        "evaluate",
        "--benchmark",
        "voc",
        "--root",
        str(root),
        "--model",
        "m/x",
        "--device",
        "cpu",
    ]
    assert (
        cli.main(
            [
                *command,
                "--limit",
                "2",
                "--out",
                str(out),
                "--background",
                "published",
                "--bootstrap",
                "7",
            ]
        )
        == 0
    )
    lines, err = said(capsys)
    assert lines[:2] == [
        "Pascal VOC 2012, 21 classes, by x",
        "mIoU             25.00  (95 % 24.00 to 26.00)",
    ]
    assert lines[-1] == str(out)
    assert err == []
    folders, encoder, number, how = asked[-1]
    assert (folders, encoder, number) == ({"": Path("m/x")}, Path("m/x/encoder"), 2)
    assert (how.device, how.background, how.bootstrap, how.protocol.windows.short_side) == (
        "cpu",
        0.95,
        7,
        448,
    )
    result = json.loads(out.read_text())
    assert (result["model"], result["seeds"], result["pictures"]) == (
        "x",
        {},
        {"scored": 2, "of": 3},
    )
    for extra, words in (
        (["--limit", "-1"], "--limit must not be below 0"),
        ([], "where the split has 1449"),
        (["--out", str(tmp_path)], "no file can be written there"),
        (["--windows", "3"], "is not SHORT,CROP,STRIDE"),
    ):
        assert cli.main([*command, *extra]) == 1
        lines, err = said(capsys)
        assert (lines, len(err)) == ([], 1)
        assert words in err[0]


def test_evaluate_all_seeds_of_a_recipe(tmp_path, capsys, monkeypatch):
    """On the data of the checkout, by the name that its params.yaml has for them."""
    from captionseg.benchmarks import outside, published

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("evaluate: {name: mine}")
    for seed in ("1", "0"):
        (tmp_path / "models" / "cocu-mil" / "seeds" / seed).mkdir(parents=True)
    monkeypatch.setattr(published, "opened", lambda spec, root, limit, **_: (Four(), 4))
    monkeypatch.setattr(
        outside, "evaluate", lambda folders, *_: found({seed: 25.0 for seed in folders})
    )
    command = ["evaluate", "--benchmark", "mine", "--recipe", "cocu-mil", "--device", "cpu"]
    assert cli.main([*command, "--protocol", "tcl"]) == 0
    lines, err = said(capsys)
    assert (lines[0], err) == ("the run's own data, 2 classes, by cocu-mil, 2 seeds", [])
    assert lines[-1] == "reports/benchmarks/cocu-mil/mine@tcl.json"
    path = tmp_path / lines[-1]
    result, before = json.loads(path.read_text()), path.read_bytes()
    assert {key: result[key] for key in ("recipe", "benchmark", "title", "seeds", "pictures")} == {
        "recipe": "cocu-mil",
        "benchmark": "mine",
        "title": "the run's own data",
        "seeds": {"0": 25.0, "1": 25.0},
        "pictures": {"scored": 4, "of": 4},
    }
    assert cli.main([*command, "--protocol", "tcl"]) == 0
    assert path.read_bytes() == before
    said(capsys)
    for extra, words in (
        (["--recipe", "none"], "models/none: no trained seed"),
        (["--benchmark", "other"], "'other' is not valid"),
    ):
        assert cli.main([*command, *extra]) == 1
        assert words in said(capsys)[1][0]


class Four:
    """A benchmark of four pictures."""

    names = ("dog", "cat")

    def __len__(self) -> int:
        return 4
