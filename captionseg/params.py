"""params.yaml -> frozen dataclasses. The only module that has heard of YAML.

Sections are built when they are first asked for, so that a stage imports only what it reads.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from captionseg.records import UserError
from captionseg.typed import build, check_keys

if TYPE_CHECKING:
    from captionseg.benchmarks import EvaluateParams
    from captionseg.captioners import CaptionParams
    from captionseg.curation import CurateParams
    from captionseg.datasets import DownloadParams
    from captionseg.encoders import IndexParams
    from captionseg.expectations import ValidateParams
    from captionseg.reporting import ReportParams
    from captionseg.runtime import RuntimeParams
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

    SECTIONS = ("seed", "runtime", "download", "caption", "index", "regions", "curate", "segment_text", "validate",
                "pretrain", "recipes", "evaluate", "report", "gate", "regression")

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
    def runtime(self) -> RuntimeParams:
        from captionseg.runtime import RuntimeParams

        return build(RuntimeParams, self.raw.get("runtime", {}), "runtime")

    @cached_property
    def download(self) -> DownloadParams:
        from captionseg.datasets import DownloadParams

        return self._section("download", DownloadParams)

    @cached_property
    def caption(self) -> CaptionParams:
        from captionseg.captioners import CaptionParams

        return self._section("caption", CaptionParams)

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

        found = self._section("evaluate", EvaluateParams)
        try:
            return found.of_source(self.download.source) if "download" in self.raw else found
        except ValueError as error:
            raise UserError(f"evaluate.{error}") from None

    @cached_property
    def report(self) -> ReportParams:
        from captionseg.reporting import ReportParams

        return self._section("report", ReportParams)

    @cached_property
    def gate(self) -> dict[str, str]:
        return self._section("gate", dict[str, str])

    @cached_property
    def regression(self) -> dict[str, float]:
        return build(dict[str, float], self.raw.get("regression", {}), "regression")

    def check(self) -> None:
        """Build every section, so that a mistake anywhere is found before any work starts."""
        for name in self.SECTIONS:
            getattr(self, name)
        check_keys(self.evaluate.also, self.recipes, "evaluate.also")
