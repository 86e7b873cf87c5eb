"""The registered model `captionseg`, and the choice of its champion.

The challenger of a reproduction is the recipe that is best on the tune split: within a
reproduction, nothing is chosen on the test split. Between reproductions, the model with the better
mIoU on the same test pictures becomes champion.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captionseg.tracking.logged_models import DIGEST
from captionseg.tracking.reproduction import PARENT

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

NAME = "captionseg"
CHAMPION, CHALLENGER = "champion", "challenger"
ORIGIN = {
    "git.commit": "mlflow.source.git.commit",
    "git.dirty": "git.dirty",
    "dvc.lock": "dvc.lock",
    "reproduction": PARENT,
}
"""Tags of a version that say where it came from -> tags of runs."""


@dataclass(frozen=True)
class Entry:
    """A recipe of a reproduction, as the registry needs it.

    Attributes:
        recipe: its name.
        run: id of its run.
        model: id of its logged model.
        source: address of the files of that model.
        md5: digest of models/RECIPE.
        benchmark: the benchmark that it was scored on.
        data: digest of the pictures and masks of that benchmark.
        miou: mIoU there, mean over seeds; None without true masks.
        tune: mIoU on the tune split, mean over seeds; None without true masks.
    """

    recipe: str
    run: str
    model: str
    source: str
    md5: str
    benchmark: str
    data: str
    miou: float | None = None
    tune: float | None = None

    @property
    def has_scores(self) -> bool:
        """Whether both mIoUs are finite; a non-finite one could never be beaten."""
        return all(value is not None and math.isfinite(value) for value in (self.miou, self.tune))

    def scores(self) -> dict[str, str]:
        """Return the tags of a version with its scores and their benchmark."""
        return {
            "miou": f"{self.miou:.4f}",
            "tune_miou": f"{self.tune:.4f}",
            "benchmark": self.benchmark,
            "benchmark.data": self.data,
        }


def promote(
    client: MlflowClient, entries: list[Entry], tags: dict[str, str], *, passed: bool
) -> str:
    """Register the challenger among `entries`, and make it champion if it is better.

    Args:
        client: client of the registry.
        entries: recipes of a successful reproduction.
        tags: tags of the reproduction's runs.
        passed: whether the gate passed; otherwise nothing is registered.

    Returns:
        the decision, in one line.
    """
    if not passed:
        return "nothing registered: the gate failed"
    able = [entry for entry in entries if entry.has_scores and entry.data]
    if not able:
        return "nothing registered: no recipe has a mIoU on both the tune and the test split"
    aliases = _aliases(client)
    refresh(client, able)
    best = max(able, key=lambda entry: entry.tune or 0.0)
    version = find_version(client, best.md5) or register(client, best, tags)
    number = str(version.version)
    if number == aliases.get(CHAMPION):
        return f"version {number}, {best.recipe}: is already champion"
    champion = client.get_model_version(NAME, aliases[CHAMPION]) if CHAMPION in aliases else None
    wins, why = beats(best, champion)
    client.set_registered_model_alias(NAME, CHAMPION if wins else CHALLENGER, number)
    if wins and aliases.get(CHALLENGER) == number:
        client.delete_registered_model_alias(NAME, CHALLENGER)
    message = f"version {number}, {best.recipe}, is {CHAMPION if wins else CHALLENGER}: {why}"
    client.update_model_version(NAME, number, message)
    return message


def beats(entry: Entry, champion: ModelVersion | None) -> tuple[bool, str]:
    """Return whether an entry replaces the champion, and why. Scores on different pictures are not
    compared.
    """
    if champion is None:
        return True, f"{entry.miou:.2f} mIoU on {entry.benchmark}, the first champion"
    tags, name = champion.tags, f"version {champion.version}, {champion.tags.get('recipe', '?')}"
    if (tags.get("benchmark"), tags.get("benchmark.data")) != (entry.benchmark, entry.data):
        return False, (
            f"not comparable, the champion ({name}) was scored on other pictures; to replace it, "
            "set the alias by hand"
        )
    before = float(tags.get("miou", "nan"))
    wins = entry.miou is not None and (math.isnan(before) or entry.miou > before)
    return wins, f"{entry.miou:.2f} mIoU on {entry.benchmark} against {before:.2f} of {name}"


def refresh(client: MlflowClient, entries: list[Entry]) -> None:
    """Update the scores of versions whose models were scored again, so that a champion stays
    comparable on new pictures.
    """
    for entry in entries:
        if version := find_version(client, entry.md5):
            for key, value in entry.scores().items():
                if version.tags.get(key) != value:
                    client.set_model_version_tag(NAME, str(version.version), key, value)


def find_version(client: MlflowClient, md5: str) -> ModelVersion | None:
    """Return the version whose files have this digest, if any."""
    candidates = client.search_model_versions(f"name = '{NAME}' and tags.`{DIGEST}` = '{md5}'")
    return max(candidates, key=lambda version: int(version.version), default=None)


def register(client: MlflowClient, entry: Entry, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model as a new version."""
    origin = {name: tags[key] for name, key in ORIGIN.items() if key in tags}
    tags = {
        **origin,
        "recipe": entry.recipe,
        "model": entry.model,
        DIGEST: entry.md5,
        **entry.scores(),
    }
    version = client.create_model_version(
        NAME, entry.source, run_id=entry.run, tags=tags, model_id=entry.model
    )
    # A server sets this tag itself, a client of a database does not.
    versions = json.dumps([{"name": NAME, "version": str(version.version)}])
    client.set_logged_model_tags(entry.model, {"mlflow.modelVersions": versions})
    return version


def _aliases(client: MlflowClient) -> dict[str, str]:
    """Return alias -> version of the registered model, which is created if missing."""
    if not client.search_registered_models(f"name = '{NAME}'"):
        about = (
            "Models that segment pictures by text; the champion is the best of all reproductions."
        )
        client.create_registered_model(NAME, description=about)
    return {
        alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()
    }
