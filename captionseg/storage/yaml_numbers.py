"""YAML in which a number means what it does in YAML 1.2, which DVC reads and writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

AMBIGUOUS = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?)")
"""Numbers that YAML 1.1 and 1.2 read differently: 010 is 8 or 10, and 1:30 is 90 or a text."""


class NumberLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which reads YAML 1.1, where 5e-06 would be a text and 5.0e-06 a
    number. It refuses numbers that YAML 1.2 reads differently.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """Read an integer."""
        return super().construct_yaml_int(_check_number(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """Read a number with a fraction or an exponent."""
        return super().construct_yaml_float(_check_number(node))


def _check_number(node: yaml.ScalarNode) -> yaml.ScalarNode:
    """Raise YAMLError for an ambiguous number, otherwise return its node."""
    text = str(node.value)
    if AMBIGUOUS.fullmatch(text):
        hint = "as text, in quotes" if ":" in text else "without zeros in front"
        raise yaml.YAMLError(
            f"line {node.start_mark.line + 1}: {text} is not the same number to all readers of "
            f"YAML; write it {hint}"
        )
    return node


NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
NumberLoader.add_constructor("tag:yaml.org,2002:int", NumberLoader.construct_yaml_int)
NumberLoader.add_constructor("tag:yaml.org,2002:float", NumberLoader.construct_yaml_float)


def has_section(path: Path, name: str) -> bool:
    """Whether a file has a section, or is damaged, so that whoever reads it says what is wrong."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), NumberLoader)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError, TypeError, yaml.YAMLError):
        return True
    return isinstance(raw, dict) and name in raw
