"""Reads params.yaml into frozen dataclasses.

Sections are built on first use, so that a stage imports only the code of the sections it reads.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from annotated_types import Ge

from captionseg.records import UserError, one_line
from captionseg.storage.yaml_numbers import NumberLoader
from captionseg.typed import NAME, Seed, build, build_all, check_keys

if TYPE_CHECKING:
    from captionseg.benchmarks.params import EvaluateParams
    from captionseg.captioners.captioners import CaptionParams
    from captionseg.curation.rules import CurateParams
    from captionseg.expectations.params import ValidateParams
    from captionseg.index_params import IndexParams
    from captionseg.recipes import Recipe
    from captionseg.reporting.params import ReportParams
    from captionseg.runtime.params import RuntimeParams
    from captionseg.segment_text.params import SegmentTextParams
    from captionseg.segmenters.region_makers import RegionsParams
    from captionseg.sources.sources import DownloadParams
    from captionseg.training.params import PretrainParams


class _Loader(NumberLoader):
    """YAML without duplicate keys, of which YAML would silently use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(
                    f"line {line}: {one_line(key.value)!r} occurs twice; remove one"
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


class Params:
    """The settings of a run, section by section.

    Args:
        path: the params.yaml to read.
        change: what makes other values of those of the file, as an experiment does.

    Raises:
        UserError: for anything invalid, with the file and the path of the key.
    """

    SECTIONS = (
        "seed",
        "runtime",
        "download",
        "caption",
        "index",
        "regions",
        "curate",
        "segment_text",
        "validate",
        "pretrain",
        "recipes",
        "about",
        "evaluate",
        "report",
        "gate",
        "regression",
    )

    def __init__(
        self,
        path: Path | str = "params.yaml",
        change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.path = Path(path)
        try:
            self.raw: dict[str, Any] = yaml.load(self.path.read_text("utf-8"), _Loader) or {}
        except FileNotFoundError:
            raise UserError(
                f"{self.path}: no such file; run from the root of the repository"
            ) from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.path}: not text in UTF-8 (byte {error.start}); save it as UTF-8"
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
            raise UserError(f"{self.path}: not valid YAML: {one_line(error)}") from None
        if change is not None:
            self.raw = change(self.raw)
        check_keys(self.raw, self.SECTIONS, str(self.path))
        check_names(self.raw)

    def _section(self, name: str, kind: Any) -> Any:
        if name not in self.raw:
            raise UserError(f"{self.path}: section {name!r} is missing")
        return build(kind, self.raw[name], name)

    def value(self, name: str) -> Any:
        """Return a single value by its dotted name, such as download.source, or its default.

        For stages that need nothing else of the section: it is not built, so that they do not
        depend on the code that it imports.
        """
        section, key = name.split(".")
        values = self.raw.get(section)
        if isinstance(values, Mapping) and key in values:
            return values[key]
        return getattr(getattr(self, section), key)

    @cached_property
    def seed(self) -> int:
        return self._section("seed", Seed)

    @cached_property
    def runtime(self) -> RuntimeParams:
        from captionseg.runtime.params import RuntimeParams

        return build(RuntimeParams, self.raw.get("runtime", {}), "runtime")

    @cached_property
    def download(self) -> DownloadParams:
        from captionseg.sources.sources import DownloadParams

        return self._section("download", DownloadParams)

    @cached_property
    def caption(self) -> CaptionParams:
        from captionseg.captioners.captioners import CaptionParams

        return self._section("caption", CaptionParams)

    @cached_property
    def index(self) -> IndexParams:
        from captionseg.index_params import IndexParams

        return self._section("index", IndexParams)

    @cached_property
    def regions(self) -> RegionsParams:
        from captionseg.segmenters.region_makers import RegionsParams

        return self._section("regions", RegionsParams)

    @cached_property
    def curate(self) -> CurateParams:
        from captionseg.curation.rules import CurateParams

        return self._section("curate", CurateParams)

    @cached_property
    def segment_text(self) -> SegmentTextParams:
        from captionseg.segment_text.params import SegmentTextParams

        return self._section("segment_text", SegmentTextParams)

    @cached_property
    def validate(self) -> ValidateParams:
        from captionseg.expectations.params import ValidateParams

        return self._section("validate", ValidateParams)

    @cached_property
    def pretrain(self) -> PretrainParams:
        from captionseg.training.params import PretrainParams

        return self._section("pretrain", PretrainParams)

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        from captionseg.recipes import Recipe

        rows = self.raw.get("recipes")
        for name, row in rows.items() if isinstance(rows, dict) else ():
            if isinstance(row, dict) and "about" in row:  # a change of it would retrain the recipe
                raise UserError(
                    f"recipes.{name}.about: descriptions belong in section about; write about: "
                    f"{{{name}: ...}}"
                )
        return self._section("recipes", dict[str, Recipe])

    @cached_property
    def about(self) -> dict[str, str]:
        texts = build(dict[str, str], self.raw.get("about") or {}, "about")
        if isinstance(self.raw.get("recipes"), dict):
            check_keys(texts, self.raw["recipes"], "about")
        return texts

    @cached_property
    def recipes_with_about(self) -> dict[str, Recipe]:
        """The recipes with their descriptions, for stages that show them."""
        return {
            name: replace(recipe, about=self.about.get(name, ""))
            for name, recipe in self.recipes.items()
        }

    @cached_property
    def evaluate(self) -> EvaluateParams:
        from captionseg.benchmarks.params import EvaluateParams

        params = self._section("evaluate", EvaluateParams)
        try:
            return (
                params.of_source(self.value("download.source"))
                if "download" in self.raw
                else params
            )
        except ValueError as error:
            raise UserError(f"evaluate.{error}") from None

    @cached_property
    def report(self) -> ReportParams:
        from captionseg.reporting.params import ReportParams

        return self._section("report", ReportParams)

    @cached_property
    def gate(self) -> dict[str, str]:
        return self._section("gate", dict[str, str])

    @cached_property
    def regression(self) -> dict[str, float]:
        return build(
            dict[str, Annotated[float, Ge(0)]], self.raw.get("regression", {}), "regression"
        )

    def check(self, *, all_sections: bool = True) -> None:
        """Build every section, so that mistakes are found before any work starts.

        Args:
            all_sections: report missing sections too; otherwise they fail when they are read.

        Raises:
            UserError: one line per mistake.
        """
        names = [name for name in self.SECTIONS if all_sections or name in self.raw]
        build_all({name: partial(getattr, self, name) for name in names})


def check_names(raw: Mapping[str, Any]) -> None:
    """Check the names of recipes, rules and variants, which become names of folders and DVC stages.

    Args:
        raw: parsed params.yaml; values of a wrong type are reported when the section is built.

    Raises:
        UserError: one line per invalid name, or name that differs from another only in case.
    """
    recipes, curate, segments = (
        _mapping(raw, name) for name in ("recipes", "curate", "segment_text")
    )
    rules = curate.get("rules")
    places = {
        "recipes": list(recipes),
        "curate.variants": list(_mapping(curate, "variants")),
        "curate.rules": rules if isinstance(rules, list) else [],
    }
    places |= {
        f"recipes.{one_line(name)}.{field}": [_mapping(recipes, name)[field]]
        for name in recipes
        for field in ("curation", "archive")
        if field in _mapping(recipes, name)
    }
    places |= {"segment_text.curation": [segments["curation"]]} if "curation" in segments else {}
    faults = [fault for where, names in places.items() for fault in _faults(where, names)]
    if faults:
        raise UserError("\n".join(faults))


def _mapping(values: Mapping[Any, Any], key: Any) -> Mapping[Any, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def _faults(where: str, names: Iterable[Any]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            yield f"{where}: {name!r} is not text in YAML, so it is not a name; put it in quotes"
        elif not re.fullmatch(NAME.pattern, name):
            plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
            plain = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:100]
            yield (
                f"{where}: {one_line(ascii(name), 80)} is not a valid name (valid: {NAME.words})"
                + (f"; try {plain!r}" if plain else "")
            )
        elif (other := seen.setdefault(name.casefold(), name)) != name:
            yield (
                f"{where}: {name!r} and {other!r} are the same folder on disks that ignore case; "
                "rename one"
            )
