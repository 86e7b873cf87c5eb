"""Experiments: YAML files with changes to params.yaml, their purpose and the expected scores.

about: Models that group pixels.           # what the experiment shows
minutes: not measured                      # for the whole run on two cores
expected: {nouns-groupvit: 20.9}           # mIoU of recipes on the run's own pictures, in %
recipes: []                                # recipes to keep before the new ones, in this order
params: {recipes: {nouns-groupvit: {...}}} # merged into params.yaml
root: folder of the unpacked archive       # only if it needs data of yours: what --root has to be
without: [nouns-mil]                       # recipes of params.yaml that are left out
cost: {pairs: 4300000, recipes: {...}}     # only at paper scale: computed, nothing was run
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from captionseg.records import UserError, one_line

KEY = re.compile(r"[A-Za-z_][\w-]*")


class RecipeCost(BaseModel):
    """What training one seed of a recipe takes, as `python -m perf.paper_costs` computes it.

    Attributes:
        trained: millions of parameters that are trained.
        frozen: millions of parameters that are not.
        gflop: operations of a training step, forward and backward, per picture, in 10^9.
        gib: memory of each GPU in GiB.
        hours: hours of all GPUs together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    trained: Annotated[float, Field(gt=0)]
    frozen: Annotated[float, Field(ge=0)]
    gflop: Annotated[float, Field(gt=0)]
    gib: Annotated[float, Field(gt=0)]
    hours: Annotated[float, Field(gt=0)]


class Cost(BaseModel):
    """What an experiment at paper scale takes.

    Attributes:
        pairs: number of pairs that it trains on.
        recipes: what each recipe takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pairs: Annotated[int, Field(gt=0)]
    recipes: dict[str, RecipeCost]


class Experiment(BaseModel):
    """One experiment.

    Attributes:
        about: what it shows, one sentence.
        minutes: for the whole run on two cores, or "not measured".
        expected: recipe -> mIoU in % on the run's own pictures, if measured.
        recipes: recipes to keep, in this order; new recipes not listed here follow.
        params: merged into params.yaml; lists and scalars replace existing values. `{root}` in a
            text stands for the folder that the user gives.
        root: what this folder is; empty if the experiment needs none.
        without: recipes of params.yaml that it leaves out, with their descriptions.
        cost: what it takes, if that was computed instead of measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    about: Annotated[str, Field(min_length=1)]
    minutes: Annotated[float, Field(gt=0)] | Literal["not measured"]
    expected: dict[str, Annotated[float, Field(ge=0, le=100)]] = {}
    recipes: list[str] = []
    params: Annotated[dict[str, Any], Field(min_length=1)]
    root: str = ""
    without: list[str] = []
    cost: Cost | None = None

    @property
    def overrides(self) -> list[str]:
        """Its changes of params.yaml as overrides for `dvc exp run -S`, one per leaf."""
        removed = [
            f"~{section}.{name}" for name in self.without for section in ("recipes", "about")
        ]
        return [*removed, *list_overrides(self.params)]

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of params.yaml as the experiment changes them, what `overrides` make of
        the file.

        Raises:
            UserError: if it leaves out a recipe that there is not.
        """
        kept = dict(values)
        for name in self.without:
            if name not in (kept.get("recipes") or {}):
                raise UserError(f"without: params.yaml has no recipe {name}")
            for section in ("recipes", "about"):
                kept[section] = {k: v for k, v in (kept.get(section) or {}).items() if k != name}
        return _merge(kept, self.params)

    def place(self, name: str, root: Path | None) -> Experiment:
        """The experiment with the user's folder in place of `{root}`.

        Args:
            name: of the experiment, for messages.
            root: the folder; None if the user gave none.

        Raises:
            UserError: if a folder is needed and none is given, or the other way round, or it is no
                folder.
        """
        if not self.root:
            if root is not None:
                raise UserError(f"--root: experiment {name} needs no folder")
            return self
        if root is None:
            raise UserError(
                f"experiment {name} needs --root: {self.root}; "
                f"make experiment NAME={name} ROOT=/path/to/it"
            )
        if not root.is_dir():
            raise UserError(f"--root: {one_line(str(root))} is not a folder; give {self.root}")
        return self.model_copy(update={"params": _replace_root(self.params, str(root.resolve()))})


def read_experiment(path: Path) -> Experiment:
    """Read and validate a file.

    Raises:
        UserError: one line with the file, the key and the mistake.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        experiment = Experiment.model_validate(values)
        list_overrides(experiment.params)
        for name in experiment.without:
            _check_key(name, "")
    except FileNotFoundError:
        names = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise UserError(f"{path}: no such experiment (valid: {names or 'none'})") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    except ValidationError as error:
        raise UserError(
            f"{path}: {'; '.join(_describe(fault) for fault in error.errors())}"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: params.{error}") from None
    return experiment


def _merge(old: Any, new: Any) -> Any:
    """Return new values in place of old ones, mappings key by key."""
    if not isinstance(new, Mapping):
        return new
    start = dict(old) if isinstance(old, Mapping) else {}
    return start | {key: _merge(start.get(key), value) for key, value in new.items()}


def _replace_root(value: Any, root: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _replace_root(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_root(item, root) for item in value]
    return value.replace("{root}", root) if isinstance(value, str) else value


def _describe(fault: Mapping[str, Any]) -> str:
    path = ".".join(one_line(str(key)) for key in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key (valid: {', '.join(Experiment.model_fields)})"
    rejected = "" if fault["type"] == "missing" else f", found {one_line(str(fault['input']))[:80]}"
    return f"{path or 'the file'}: {fault['msg'].lower()}{rejected}"


def describe(name: str, experiment: Experiment) -> list[str]:
    """Describe an experiment before it runs, as lines for a terminal."""
    cost = experiment.minutes if isinstance(experiment.minutes, str) else f"{experiment.minutes:g}"
    scores = ", ".join(f"{recipe} {miou:.1f}" for recipe, miou in experiment.expected.items())
    needs = [f"  needs --root: {experiment.root}"] if experiment.root else []
    computed = [
        f"  {recipe}, computed: {one.hours:,.0f} hours of GPUs with {one.gib:.0f} GiB each"
        for recipe, one in (experiment.cost.recipes if experiment.cost else {}).items()
    ]
    return [
        f"{name}: {experiment.about}",
        *needs,
        *computed,
        f"  minutes on two cores: {cost}",
        f"  expected mIoU: {scores or 'not measured'}",
    ]


def list_overrides(params: Mapping[str, Any]) -> list[str]:
    """Return params as overrides for `dvc exp run -S`, one per leaf: `++seed=1`.

    Raises:
        ValueError: for keys and values that cannot be written as an override.
    """
    return [f"++{path}={_format(value, path)}" for path, value in _leaves(params)]


def _leaves(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        path = f"{prefix}{_check_key(key, prefix)}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _check_key(key: Any, prefix: str) -> str:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(
            f"{prefix}{one_line(str(key))}: keys may contain only letters, digits, _ and -"
        )
    return key


def _format(value: Any, path: str) -> str:
    """Format a value in Hydra's grammar; text is quoted, so that it is taken literally."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str() if "${" not in value:
            # Inside quotes a backslash is literal, except before a quote.
            text = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
            return f"'{text}'"
        case list():
            return f"[{','.join(_format(item, path) for item in value)}]"
        case Mapping():
            items = (
                f"{_check_key(key, f'{path}.')}:{_format(item, path)}"
                for key, item in value.items()
            )
            return f"{{{','.join(items)}}}"
    raise ValueError(f"{path}: {one_line(repr(value))} is not supported in an experiment")
