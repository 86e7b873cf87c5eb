"""YAML in which 5e-06 is a number, as in YAML 1.2, which DVC writes."""

from __future__ import annotations

import re

import yaml


class NumberLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which reads YAML 1.1, where 5e-06 would be a text and 5.0e-06 a
    number.
    """


NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
