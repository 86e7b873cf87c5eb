"""Which test pictures are shown: good, typical and bad ones of the best recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from captionseg.reporting.pictures import SCENES, draw

if TYPE_CHECKING:
    from captionseg.reporting.artifacts import Artifacts

TAIL = 0.1
"""Share of the pictures that are better than the best one shown, and worse than the worst one: an
extreme says little about the rest.
"""


@dataclass(frozen=True)
class Scene:
    """A picture to show.

    Attributes:
        uid: its uid.
        kind: good, typical or bad; empty if pictures are drawn at random.
        worse: share of the pictures on which the recipe is worse, 0 to 100; None at random.
    """

    uid: str
    kind: str = ""
    worse: float | None = None


def find_best(run: Artifacts) -> str | None:
    """Return the recipe with the highest mIoU on the tune split, as nothing is chosen by test
    pictures; without a tune split by mIoU. None if no recipe was scored.
    """

    def rank(name: str) -> tuple[float, float]:
        tuned = [fit["tune_miou"] for fit in run.fits.get(name, {}).values() if "tune_miou" in fit]
        return (float(np.mean(tuned)) if tuned else 0.0, run.scores[name]["scores"]["miou"])

    return max(run.scores, key=rank, default=None)


def score_pictures(run: Artifacts, recipe: str) -> dict[str, float]:
    """Return uid -> share of the known pixels that a recipe labels right, 0 to 1, mean over seeds,
    for the scored pictures.
    """
    right, true = (run.areas[recipe][:, :, row].sum(-1) for row in (0, 2))
    known = true[:, 0] > 0
    share = (right / np.maximum(true, 1)).mean(1)
    return {uid: float(s) for uid, s, ok in zip(run.scored, share, known, strict=True) if ok}


def choose_scenes(
    run: Artifacts, best: str | None, split: str, count: int, *, seed: int
) -> list[Scene]:
    """Choose pictures of a split: by how well the best recipe does on them, best first, or at
    random where it was scored on others.
    """
    uids = [
        uid for uid, row in run.pairs.items() if row["split"] == split and uid in run.known_classes
    ]
    score = score_pictures(run, best) if best else {}
    score = {uid: score[uid] for uid in uids if uid in score}
    if score:
        return spread(score, count)
    return [Scene(uid) for uid in draw(uids, count, seed=seed, stream=SCENES)]


def spread(score: Mapping[str, float], count: int) -> list[Scene]:
    """Choose pictures at evenly spaced ranks from the upper to the lower TAIL; a single one is the
    median.

    Args:
        score: uid -> score.
        count: number of pictures.
    """
    order = sorted(score, key=lambda uid: (score[uid], uid))
    shares = np.linspace(1 - TAIL, TAIL, count) if count > 1 else np.full(count, 0.5)
    ranks: Sequence[int] = np.round(shares * (len(order) - 1)).astype(int).tolist()
    return [
        Scene(order[rank], name_rank(rank / max(1, len(order) - 1)), 100 * rank / len(order))
        for rank in dict.fromkeys(ranks)
    ]


def name_rank(share: float) -> str:
    """Name the place of a picture among all, 0 for the worst to 1 for the best."""
    return "bad" if share < 1 / 3 else "good" if share > 2 / 3 else "typical"
