"""The registered model `captionseg`: which recipe's model is its champion.

The challenger of a reproduction is its recipe that is best on the tune split: the test split
chooses nothing within a reproduction. Between reproductions the better mIoU on the test split is
champion, on the same test pictures alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captionseg.tracking.models import DIGEST
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
"""What a version says of where it came from, out of the tags of runs."""


@dataclass(frozen=True)
class Entry:
    """A recipe of a reproduction as the registry sees it.

    Attributes:
        recipe: its name.
        run: id of its run.
        model: id of its logged model.
        source: where the files of that model lie.
        md5: digest of models/RECIPE.
        benchmark: that it was scored on.
        data: digest of the pictures and masks of that benchmark.
        miou: there, mean of the seeds; None where nothing is known of the pictures.
        tune: mIoU on the tune split, likewise.
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
        """Whether both mIoUs are numbers: one that is not finite would never be beaten."""
        return all(value is not None and math.isfinite(value) for value in (self.miou, self.tune))

    def scores(self) -> dict[str, str]:
        """The tags of a version that say how good it is, and on what."""
        return {
            "miou": f"{self.miou:.4f}",
            "tune_miou": f"{self.tune:.4f}",
            "benchmark": self.benchmark,
            "benchmark.data": self.data,
        }


def promote(
    client: MlflowClient, entries: list[Entry], tags: dict[str, str], *, passed: bool
) -> str:
    """Register the challenger among `entries` and see whether it becomes champion.

    Args:
        client: of the registry.
        entries: the recipes of a reproduction that ended well.
        tags: of the runs of the reproduction.
        passed: whether the gate holds; else nothing is registered.

    Returns:
        what was decided, in one line.
    """
    if not passed:
        return "nothing registered: the gate does not hold"
    able = [entry for entry in entries if entry.has_scores and entry.data]
    if not able:
        return "nothing registered: no recipe has a mIoU on the tune and on the test split"
    aliases = _aliases(client)
    refresh(client, able)
    best = max(able, key=lambda entry: entry.tune or 0.0)
    version = find_version(client, best.md5) or register(client, best, tags)
    number = str(version.version)
    if number == aliases.get(CHAMPION):
        return f"version {number}, {best.recipe}: the model is champion already"
    champion = client.get_model_version(NAME, aliases[CHAMPION]) if CHAMPION in aliases else None
    wins, why = beats(best, champion)
    client.set_registered_model_alias(NAME, CHAMPION if wins else CHALLENGER, number)
    if wins and aliases.get(CHALLENGER) == number:
        client.delete_registered_model_alias(NAME, CHALLENGER)
    message = f"version {number}, {best.recipe}, is {CHAMPION if wins else CHALLENGER}: {why}"
    client.update_model_version(NAME, number, message)
    return message


def beats(entry: Entry, champion: ModelVersion | None) -> tuple[bool, str]:
    """Whether an entry takes the place of a champion, and why (not). Scores on other pictures are
    not compared.
    """
    if champion is None:
        return True, f"{entry.miou:.2f} mIoU on {entry.benchmark}, and there was none"
    tags, name = champion.tags, f"version {champion.version}, {champion.tags.get('recipe', '?')}"
    if (tags.get("benchmark"), tags.get("benchmark.data")) != (entry.benchmark, entry.data):
        return False, (
            f"not comparable, the champion ({name}) was scored on other pictures; set the alias by "
            "hand if it is to give way"
        )
    before = float(tags.get("miou", "nan"))
    wins = entry.miou is not None and (math.isnan(before) or entry.miou > before)
    return wins, f"{entry.miou:.2f} mIoU on {entry.benchmark} against {before:.2f} of {name}"


def refresh(client: MlflowClient, entries: list[Entry]) -> None:
    """Give versions whose very models were scored again the new scores: on new pictures a champion
    stays comparable.
    """
    for entry in entries:
        if version := find_version(client, entry.md5):
            for key, value in entry.scores().items():
                if version.tags.get(key) != value:
                    client.set_model_version_tag(NAME, str(version.version), key, value)


def find_version(client: MlflowClient, md5: str) -> ModelVersion | None:
    """The version that was made of files with this digest, if any."""
    candidates = client.search_model_versions(f"name = '{NAME}' and tags.`{DIGEST}` = '{md5}'")
    return max(candidates, key=lambda version: int(version.version), default=None)


def register(client: MlflowClient, entry: Entry, tags: dict[str, str]) -> ModelVersion:
    """A new version out of a logged model."""
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
    # A server says so on the model's page by itself, a client of a database does not.
    versions = json.dumps([{"name": NAME, "version": str(version.version)}])
    client.set_logged_model_tags(entry.model, {"mlflow.modelVersions": versions})
    return version


def _aliases(client: MlflowClient) -> dict[str, str]:
    """alias -> version of the registered model, which is made if it is not there."""
    if not client.search_registered_models(f"name = '{NAME}'"):
        about = (
            "Models that segment pictures with words; the champion is the best of all "
            "reproductions."
        )
        client.create_registered_model(NAME, description=about)
    return {
        alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()
    }
