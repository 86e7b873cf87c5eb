"""params.yaml -> frozen dataclasses. The only module that has heard of YAML.

An unknown key, a missing value or a value of a wrong type is one line with its path and what would be valid.
Sections are built when they are first asked for, so that a stage imports only what it reads.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from captionseg.records import UserError

if TYPE_CHECKING:
    from captionseg.benchmarks import EvaluateParams
    from captionseg.curation import CurateParams
    from captionseg.datasets import DownloadParams
    from captionseg.encoders import IndexParams
    from captionseg.expectations import ValidateParams
    from captionseg.reporting import ReportParams
    from captionseg.segment_text import SegmentTextParams
    from captionseg.segmenters import RegionsParams
    from captionseg.training import PretrainParams, Recipe


class Params:
    """The knobs of one run, section by section.

    Args:
        path: the params.yaml to read.

    Raises:
        UserError: naming the file and the path of the key, for anything that does not fit.
    """

    SECTIONS = ("seed", "download", "index", "regions", "curate", "segment_text", "validate", "pretrain", "recipes",
                "evaluate", "report", "gate")

    def __init__(self, path: Path | str = "params.yaml") -> None:
        self.path = Path(path)
        try:
            self.raw: dict[str, Any] = yaml.safe_load(self.path.read_text()) or {}
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such file; run from the root of the repository") from None
        except yaml.YAMLError as error:
            raise UserError(f"{self.path}: not valid YAML: {' '.join(str(error).split())}") from None
        check_keys(self.raw, self.SECTIONS, str(self.path))

    def _section(self, name: str, kind: Any) -> Any:
        if name not in self.raw:
            raise UserError(f"{self.path}: section {name!r} is missing")
        return build(kind, self.raw[name], name)

    @cached_property
    def seed(self) -> int:
        return self._section("seed", int)

    @cached_property
    def download(self) -> DownloadParams:
        from captionseg.datasets import DownloadParams

        return self._section("download", DownloadParams)

    @cached_property
    def index(self) -> IndexParams:
        from captionseg.encoders import IndexParams

        return self._section("index", IndexParams)

    @cached_property
    def regions(self) -> RegionsParams:
        from captionseg.segmenters import RegionsParams

        return self._section("regions", RegionsParams)

    @cached_property
    def curate(self) -> CurateParams:
        from captionseg.curation import CurateParams

        return self._section("curate", CurateParams)

    @cached_property
    def segment_text(self) -> SegmentTextParams:
        from captionseg.segment_text import SegmentTextParams

        return self._section("segment_text", SegmentTextParams)

    @cached_property
    def validate(self) -> ValidateParams:
        from captionseg.expectations import ValidateParams

        return self._section("validate", ValidateParams)

    @cached_property
    def pretrain(self) -> PretrainParams:
        from captionseg.training import PretrainParams

        return self._section("pretrain", PretrainParams)

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        from captionseg.training import Recipe

        return self._section("recipes", dict[str, Recipe])

    @cached_property
    def evaluate(self) -> EvaluateParams:
        from captionseg.benchmarks import EvaluateParams

        return self._section("evaluate", EvaluateParams)

    @cached_property
    def report(self) -> ReportParams:
        from captionseg.reporting import ReportParams

        return self._section("report", ReportParams)

    @cached_property
    def gate(self) -> dict[str, str]:
        return self._section("gate", dict[str, str])

    def check(self) -> None:
        """Build every section, so that a mistake anywhere is found before any work starts."""
        for name in self.SECTIONS:
            getattr(self, name)


def check_keys(values: Any, valid: typing.Iterable[str], where: str) -> None:
    """One line for a key that is not valid: its path, the nearest valid name, all valid names."""
    names = list(valid)
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected keys ({', '.join(names)}), found {values!r}")
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where}.{key}: unknown parameter{hint} (valid: {', '.join(names)})")


def build(kind: Any, value: Any, where: str) -> Any:
    """`value` from YAML as `kind`: a dataclass, a union with None, a Literal, a container of those, or a scalar.

    Raises:
        UserError: with the dotted path `where`.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in args:
            return None
        return build(next(a for a in args if a is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is not valid (valid: {', '.join(map(str, args))})")
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: expected a mapping, found {value!r}")
        return {str(k): build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise UserError(f"{where}: expected a list, found {value!r}")
        return origin(build(args[0], v, f"{where}.{i}") for i, v in enumerate(value))
    return _build_scalar(kind, value, where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    value = {} if value is None else value
    hints = typing.get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if f.init]
    check_keys(value, [f.name for f in fields], where)
    required = [f.name for f in fields
                if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in value]:
        raise UserError(f"{where}.{missing[0]}: missing; give it a value")
    built = {k: build(hints[k], v, f"{where}.{k}") for k, v in value.items()}
    try:
        return kind(**built)
    except ValueError as error:  # what a __post_init__ refuses
        raise UserError(f"{where}: {error}") from None


def _build_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            raise UserError(f"{where}: expected a number, found NaN")
        return float(value)
    if kind is typing.Any or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    hint = ""
    if kind is float and isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value.lower()):
        mantissa, exponent = value.lower().split("e")
        hint = f", which is text to YAML; write {mantissa}.0e{exponent if exponent[0] in '+-' else '+' + exponent}"
    raise UserError(f"{where}: expected {kind.__name__}, found {value!r}{hint}")
