"""The command line: what it writes and says, and one line for each mistake."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from captionseg import cli
from captionseg.api import model_folders
from captionseg.extras import EXTRAS
from captionseg.inference import predictor
from captionseg.inference.windows import Background, ResolvedProtocol
from captionseg.remarks import forget

ROOT = Path(__file__).parents[2]


class Halves:
    """A predictor that calls the left quarter of a picture by the first label and the rest by the
    last.

    Asked for a background, it finds that share of it at the top.
    """

    asked: list = []  # noqa: RUF012
    requested = None
    contrast = None
    labeller = None

    def __init__(self, background):
        self.background = background
        self.protocol = ResolvedProtocol(
            background=Background("none" if background is None else "threshold", background)
        )

    @staticmethod
    def load(folder, *, device, background, protocol):
        Halves.asked.append((folder, device))
        Halves.requested, Halves.contrast = protocol, protocol.contrast
        return Halves(background)

    def with_contrast(self, share):
        Halves.contrast = share
        return self

    embed_labels = None  # the model has no list of concepts

    def find_rivals(self, labels):
        Halves.asked.append(labels)
        return ["sky"] if labels == ("dog",) else []

    def measure(self, image, labels, rivals=()):
        found = np.full(image.shape[:2], len(labels) - 1, np.int16)
        found[:, : image.shape[1] // 4] = 0
        found[: round(image.shape[0] * (self.background or 0))] = -1
        return found, np.ones(image.shape[:2], np.float32)


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "Predictor", Halves)
    monkeypatch.chdir(tmp_path)  # no model that a run has left here
    monkeypatch.setattr(model_folders, "find_model", lambda: Path("m"))
    path = tmp_path / "zebra.jpg"
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(path)
    return path


def said(capsys):
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_segment_writes_the_overlay_into_the_current_folder_and_prints_shares(
    picture, capsys, monkeypatch
):
    (picture.parent / "here").mkdir()
    monkeypatch.chdir(picture.parent / "here")
    arguments = ["--labels", "zebra, tall  grass,zebra,", "--model", "m", "--device", "cpu"]
    assert cli.main(["segment", str(picture), *arguments]) == 0
    out, err = said(capsys)
    assert out == ["tall grass   75.0 %", "zebra        25.0 %", "zebra_segments.png"]
    assert err == []
    assert Halves.asked[-1] == (Path("m"), "cpu")
    with Image.open("zebra_segments.png") as image:
        assert image.format == "PNG"
        assert image.width >= 80  # more if the legend needs it
        assert image.height > 60  # the legend is below
        left, right = (image.getpixel((x, 30)) for x in (5, 70))
    assert left != right
    assert sorted(p.name for p in picture.parent.rglob("*.*")) == [
        "zebra.jpg",
        "zebra_segments.png",
    ]


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
    protocol = Halves.requested
    assert (
        protocol.refine and protocol.refine.method,
        protocol.masks and protocol.masks.maker,
    ) == (refine, masks)


@pytest.mark.parametrize(
    ("arguments", "contrast"),
    [
        ([], 0.25),
        (["--contrast", "0"], 0),
        (["--contrast", "0.5"], 0.5),
        (["--background", "0.3"], 0),  # a score that is compared with it
    ],
)
def test_labels_are_contrasted_unless_there_is_a_background(picture, arguments, contrast):
    assert cli.main(["segment", str(picture), "--labels", "zebra, grass", *arguments]) == 0
    assert Halves.contrast == contrast


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--labels", "dog"], True),
        (["--labels", "dog", "--other"], True),
        (["--labels", "dog", "--no-other"], False),
        (["--labels", "dog", "--background", "0.2"], False),
        (["--labels", "dog, cat"], False),
        (["--labels", "zebra"], False),  # the training knows no other word
    ],
)
def test_a_single_label_has_rivals_unless_told_otherwise(picture, capsys, caplog, arguments, shown):
    forget()
    assert cli.main(["segment", str(picture), *arguments]) == 0
    out, _ = said(capsys)
    assert any(line.startswith("(other)") for line in out) == shown
    told = any("stay unlabelled" in line for line in caplog.messages)
    assert told == (arguments == ["--labels", "dog"])
    assert Halves.contrast == (0 if "--background" in arguments else 0.25)


def test_other_without_another_word_is_one_line(picture, capsys):
    Halves.labeller = SimpleNamespace(loaded=SimpleNamespace(folder=Path("m")))
    assert cli.main(["segment", str(picture), "--labels", "zebra", "--other"]) == 1
    (line,) = said(capsys)[1]
    assert "--other: m names no concept of its training" in line


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
        (["PICTURE", "--labels", "a", "--out", "over.doc"], "over.doc: unsupported image format"),
        (
            ["PICTURE", "--labels", "a", "--mask", "labels.jpg"],
            "labels.jpg: masks are written as PNG",
        ),
        (
            ["PICTURE", "--labels", "a", "--out", "PICTURE"],
            "zebra.jpg: is the input picture, which is never overwritten",
        ),
        (
            ["PICTURE", "--labels", "a", "--out", "a.png", "--mask", "a.png"],
            "a.png: is named for two results",
        ),
        (
            ["PICTURE", "--labels", "a", "--background", "nan"],
            "--background: 'nan' is not a number from -1 to 1",
        ),
        (
            ["PICTURE", "--labels", "a", "--background", "2"],
            "--background: '2' is not a number from -1 to 1",
        ),
        (["EMPTY", "--labels", "a"], "no picture in this folder"),
        (["PICTURE", "--labels", "a", "--out", f"{'x' * 300}.png"], "File name too long"),
    ],
)
def test_mistakes_are_one_line(picture, capsys, arguments, message):
    empty = picture.parent / "empty"
    empty.mkdir()
    before = sorted(picture.parent.iterdir())
    names = {"PICTURE": str(picture), "EMPTY": str(empty)}
    assert cli.main(["segment", *[names.get(a, a) for a in arguments]]) == 1
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
    assert "is the input picture" in said(capsys)[1][0]
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
    assert "valid" in said(capsys)[0][0]


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


def test_convert_both_ways(tmp_path, capsys, monkeypatch):
    from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
    from captionseg.modeling.weights import saved
    from captionseg.typed import replace_fields

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
    config = replace_fields(
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
    torch.manual_seed(0)
    saved.save(tmp_path / "ours", "groupvit", GroupViT(config), {})
    places = [str(tmp_path / name) for name in ("ours", "theirs", "again")]
    with monkeypatch.context() as alone:  # where only `pip install .` was run
        for name in (name for modules in EXTRAS.values() for name in modules):
            alone.setitem(sys.modules, name, None)
        assert cli.main(["convert", "groupvit", places[0], places[1]]) == 0
        assert cli.main(["convert", "groupvit", places[1], places[2]]) == 0
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
    assert "a groupvit does not read segments; remove masks" in capsys.readouterr().err
    assert cli.main(["convert", "groupvit", str(tmp_path / "nowhere"), str(tmp_path / "x")]) == 1
    assert "cannot be read" in capsys.readouterr().err
