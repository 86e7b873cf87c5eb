"""A folder for a hub holds all that a model needs, and a card that says what it is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from captionseg import cli
from captionseg.inference.hub_folder import describe_outside_files, export_hub
from captionseg.inference.predictor import Predictor
from captionseg.records import UserError

CARD = """# a\\_b-mil

Model `segment_mil`. 8 epochs.

| seed | last loss |
|---|---|
| 0 | 0.981 |

`model.safetensors` is seed 0. Use it:

```
captionseg segment picture.jpg --labels "zebra, grass" --model models/a_b-mil
```
"""


@pytest.fixture
def trained(folder):
    """A recipe's folder as training leaves it."""
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "concepts.txt").write_text("<b>dog</b>\ncat\n", encoding="utf-8")
    (folder / "fit.json").write_text("{}")
    return folder


def test_the_folder_alone_is_enough(trained, tmp_path_factory):
    target = tmp_path_factory.mktemp("hub") / "a-mil"
    said = export_hub(trained, target, licence="apache-2.0")
    assert said == f"{target}: a segment_mil ready to be pushed"
    names = ["README.md", "concepts.txt", "config.json", "encoder", "model.safetensors"]
    assert sorted(path.name for path in target.iterdir()) == names
    image = np.random.default_rng(0).integers(0, 255, (40, 25, 3), dtype=np.uint8)
    found, own = (
        Predictor.load(path, device="cpu").logits(image, ["dog", "cat"])
        for path in (target, trained)
    )
    np.testing.assert_array_equal(found, own)
    with pytest.raises(UserError, match="is there already and not an empty folder"):
        export_hub(trained, target)


def test_the_card_has_a_head_for_hubs_and_escapes_names(trained, tmp_path_factory):
    target = tmp_path_factory.mktemp("hub")
    said = export_hub(trained, target)
    assert said.endswith("; no licence, name it by --license")
    _, head, text = (target / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "captionseg",
        "pipeline_tag": "image-segmentation",
        "tags": [
            "open-vocabulary",
            "zero-shot",
            "semantic-segmentation",
            "captions",
            "segment_mil",
        ],
    }
    assert text.startswith(f"# {trained.name}".replace("_", r"\_"))
    assert "name 2 concepts" in text
    assert "<b>" not in text.replace(r"\<b>", "")
    assert text.endswith(
        "## Training\n\nModel `segment_mil`. 8 epochs.\n\n| seed | last loss |\n|---|---|\n"
        "| 0 | 0.981 |\n\n`model.safetensors` is seed 0.\n"
    )
    assert "models/a_b-mil" not in text


def test_a_seed_takes_the_encoder_and_the_concepts_of_its_recipe(trained, tmp_path_factory):
    seed = trained / "seeds" / "1"
    seed.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(trained / name, seed / name)
    target = tmp_path_factory.mktemp("hub") / "seed"
    export_hub(seed, target)
    assert (target / "encoder" / "encoder.json").exists()
    assert (target / "concepts.txt").read_text() == (trained / "concepts.txt").read_text()


def test_a_checkpoint_elsewhere_is_named(tmp_path):
    assert list(describe_outside_files(tmp_path)) == []
    (tmp_path / "encoder.json").write_text(json.dumps({"params": {"pretrained": "/x/clip.pt"}}))
    assert list(describe_outside_files(tmp_path)) == [
        "its encoder reads /x/clip.pt, which who loads it needs too"
    ]


def test_the_command_writes_it(trained, tmp_path_factory, capsys):
    out = tmp_path_factory.mktemp("hub") / "new"
    command = ["export", str(trained), "--to", "hub", "--out", str(out), "--license", "mit"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"{out}: a segment_mil ready to be pushed\n"
    assert cli.main(command) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert cli.main(["export", str(out / "encoder"), "--to", "hub"]) == 1
    assert "no such file" in capsys.readouterr().err
