"""Loads parts of a model of transformers from a local folder: only safetensors, no custom code, no
network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.records import UserError, one_line
from captionseg.runtime.weights import check_finite

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class TransformersFolder:
    """A local folder as transformers saves models.

    Attributes:
        path: the folder.
        family: kinds of models (`model_type` of config.json) that are accepted.
        title: name of the kind of model, for messages.
        where: dotted path of the folder in params.yaml, for messages.
    """

    path: Path
    family: Sequence[str]
    title: str
    where: str

    def load_model(self, kind: Any) -> Any:
        """Load the model in float32 on the CPU, in evaluation mode.

        Args:
            kind: its class, or one of transformers' Auto classes.

        Raises:
            UserError: if the folder is missing, has another model or incomplete weights.
        """
        from transformers.utils import logging

        if not (self.path / "config.json").is_file():
            raise UserError(
                f"{self.where}: no config.json in {str(self.path)!r}; give a local folder of a "
                f"{self.title}"
            )
        logging.disable_progress_bar()
        self._check_kind()
        options = {
            "use_safetensors": True,
            "output_loading_info": True,
            "ignore_mismatched_sizes": True,  # or it would not say which tensors they are
            "dtype": "float32",
        }
        before = logging.get_verbosity()
        logging.set_verbosity_error()  # faults are said below, in one line
        try:
            model, report = self.load(kind, **options)
        finally:
            logging.set_verbosity(before)
        check_report(self.path, report, where=self.where)
        check_finite(model.state_dict(), f"{self.where}: {self.path}")
        return model.eval()

    def load(self, kind: Any, **options: Any) -> Any:
        """Load a part, such as a tokenizer.

        Args:
            kind: a class with `from_pretrained`.
            **options: further options of that method.

        Raises:
            UserError: if its files are missing or broken.
        """
        try:
            return kind.from_pretrained(str(self.path), **options, **LOCAL)
        except Exception as error:  # broken files can raise anything
            raise self._explain(one_line(error) or type(error).__name__) from None

    def _check_kind(self) -> None:
        try:
            found = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            kind = found.get("model_type")
        except (OSError, ValueError, AttributeError) as error:
            raise self._explain(one_line(error)) from None
        if kind not in self.family:
            raise self._explain(f"it is a {kind}, not one of {', '.join(self.family)}")

    def _explain(self, reason: str) -> UserError:
        return UserError(f"{self.where}: {self.path} does not load as a {self.title}: {reason}")


def check_report(folder: Path, report: dict[str, Any], *, where: str) -> None:
    """Refuse weights that do not have all tensors of the config, in their shapes.

    Raises:
        UserError: naming the first tensor.
    """
    if lost := sorted(report["missing_keys"]):
        raise UserError(
            f"{where}: {folder} lacks {len(lost)} tensors, such as {lost[0]}; use a complete "
            "checkpoint"
        )
    if odd := sorted(map(str, report.get("mismatched_keys") or ())):
        raise UserError(
            f"{where}: {folder}: the shape of {odd[0]} does not match config.json; use a complete "
            "checkpoint"
        )
