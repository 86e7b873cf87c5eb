"""Numbers that YAML 1.1 reads as text and DVC writes."""

import pytest
import yaml

from captionseg.gate.repository import parse_yaml
from captionseg.params import Params
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
