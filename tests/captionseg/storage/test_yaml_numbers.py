"""Numbers that YAML 1.1 reads as text, or as others than DVC does."""

import pytest
import yaml

from captionseg.gate.repository import parse_yaml
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.storage.yaml_numbers import NumberLoader


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-06", 5e-06),
        ("-1E3", -1000.0),
        ("+2e+2", 200.0),
        ("5.0e-06", 5e-06),
        ("12", 12),
        ("'5e-06'", "5e-06"),
        ("e5", "e5"),
        ("5e", "5e"),
        ("1e2a", "1e2a"),
        ("nouns", "nouns"),
        ("-0", 0),
        ("1_000", 1000),
        ("0x1f", 31),
        ("00.5", 0.5),
        ("'010'", "010"),
    ],
)
def test_numbers_with_exponents_are_numbers(text, value):
    found = yaml.load(text, NumberLoader)
    assert (found, type(found)) == (value, type(value))


def test_params_and_locks_read_the_same(tmp_path):
    """Otherwise what DVC ran would not be what params.yaml says."""
    path = tmp_path / "params.yaml"
    path.write_text("seed: 0\npretrain: {learning_rate: 5e-06}\n")
    assert Params(path).raw == parse_yaml(path.read_text(), "dvc.lock")
    assert Params(path).raw["pretrain"]["learning_rate"] == 5e-06


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # DVC reads 10 and a text here, PyYAML 8 and 90
        ("index:\n  neighbours: 010", "line 2: 010 is not the same number to all readers of YAML"),
        ("seed: 1:30", "line 1: 1:30 is not the same .* of YAML; write it as text, in quotes"),
        ("gate:\n  a: 1:30.5", "1:30.5 is not the same number"),
        ("seed: -007", "-007 is not the same .* of YAML; write it without zeros in front"),
    ],
)
def test_numbers_that_dvc_reads_differently_are_refused(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=f"params.yaml: not valid YAML: .*{message}") as caught:
        Params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)
