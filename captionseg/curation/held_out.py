"""Quality of the archives, measured without masks: by captions of the image that no rule saw.

Of an image with several captions one makes the pair, and the others are held out. A concept that
only these name is one that curation should recover. The measures are lower bounds, since an image
may show what no caption names. They compare rules on one data set; they are not the precision of
what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from captionseg.curation.measure import DRAWS
from captionseg.supervision.columns import Supervision
from captionseg.supervision.sampling import draw, start_at
from captionseg.text.vocabulary import Vocabulary

TOP = 4  # rank of precision and recall
RANKED = ("precision_at_1", f"precision_at_{TOP}", f"recall_at_{TOP}", "average_precision")
DRAWN = ("sampled_precision", "sampled_recall")
MEASURES = (
    "pictures",
    *(f"{name}{end}" for name in RANKED + DRAWN for end in ("", "_low", "_high")),
)
"""Names of everything that `measure_held_out` returns."""
RESAMPLES = 1000  # of the bootstrap
LEVEL = 0.95  # of its intervals
CHUNK = 4096  # images at once


def match_held_out(
    vocabulary: Vocabulary, uid: Iterable[str], captions: Mapping[str, Sequence[str]]
) -> tuple[csr_array, np.ndarray]:
    """Match held-out captions: [N, C] bool, which concepts those of each pair name; and [N] bool,
    whether it has any.

    Args:
        vocabulary: of the captions that rules see.
        uid: [N] of the pairs.
        captions: uid -> held-out captions; pairs without any may be missing.
    """
    texts = [caption for key in uid for caption in captions.get(key, ())]
    count = np.array([len(captions.get(key, ())) for key in uid], np.int64)
    named = vocabulary.match_captions(texts).astype(np.int32)
    start = np.concatenate([[0], np.cumsum(count)])
    pair = np.repeat(np.arange(len(count)), count)
    gather = csr_array(
        (np.ones(len(texts), np.int32), (pair, np.arange(start[-1]))),
        shape=(len(count), len(texts)),
    )
    return csr_array((gather @ named).astype(bool)), count > 0


def measure_held_out(
    supervision: Supervision,
    own: csr_array,
    held_out: csr_array,
    measured: np.ndarray,
    *,
    sampled: int,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Measure the supervision of one rule by held-out captions.

    `precision_at_1`, `precision_at_4`, `recall_at_4` and `average_precision` are means over the
    pictures whose held-out captions name a concept that their own caption does not. They look at
    the concepts that the rule adds to those of the caption, best first; where it adds fewer than
    four, the rest counts as wrong. `sampled_precision` is the share of what is drawn in training
    that any caption of the picture names, and `sampled_recall` the share of what any of them names
    that `draws` steps draw.

    Args:
        supervision: N rows; its vocabulary has C concepts, those of the matrices.
        own: [N, C] bool, what the caption of the pair names.
        held_out: [N, C] bool, what the held-out captions name.
        measured: [N] bool, whether a pair has any.
        sampled: L, how many concepts a picture are drawn a step.
        seed: of the draws and of the bootstrap.
        draws: steps that are simulated.

    Returns:
        pictures; and each measure with NAME_low and NAME_high, the 95 % interval of a bootstrap
        over pictures. Empty where no pair has a held-out caption.
    """
    rows = np.flatnonzero(measured)
    if not len(rows):
        return {}
    ratios = compare_held_out(
        supervision.take(rows), own[rows], held_out[rows], sampled=sampled, seed=seed, draws=draws
    )
    return {"pictures": float(len(rows)), **resample(ratios, seed=seed)}


def compare_held_out(
    supervision: Supervision,
    own: csr_array,
    held_out: csr_array,
    *,
    sampled: int,
    seed: int,
    first: int = 0,
    draws: int = DRAWS,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measure -> numerator and denominator by picture, [n] each.

    Args:
        supervision: of some of the measured pictures, as wide as that of all of them.
        own: see `measure_held_out`.
        held_out: see `measure_held_out`.
        sampled: see `measure_held_out`.
        seed: see `measure_held_out`.
        first: number of the first of these pictures among all that are measured.
        draws: see `measure_held_out`.
    """
    width = supervision.concept.shape[1]
    sources = [start_at((seed, step), first, width) for step in range(draws)]
    return rank_added(supervision.concept, own, held_out) | count_drawn(
        supervision, own, held_out, sampled=sampled, sources=sources
    )


def align_vocabulary(supervision: Supervision, vocabulary: Sequence[str]) -> Supervision:
    """The supervision with concept numbers of another vocabulary.

    A concept that is not in it gets the number after the last, which no caption names.
    """
    if list(supervision.vocabulary) == list(vocabulary):
        return supervision
    number = {text: n for n, text in enumerate(vocabulary)}
    table = np.array([number.get(text, len(vocabulary)) for text in supervision.vocabulary] + [-1])
    return replace(supervision, concept=table[supervision.concept].astype(np.int32))


def rank_added(
    concept: np.ndarray, own: csr_array, held_out: csr_array
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measure -> numerator and denominator by picture, [N] each; its value is their sums' ratio.

    Args:
        concept: [N, M] numbers of concepts, best first, -1 pads.
        own: [N, C] bool, what the caption of the pair names.
        held_out: [N, C] bool, what the held-out captions name.
    """
    added = (concept >= 0) & ~look_up(own, concept)
    hit = added & look_up(held_out, concept)
    rank, hits = np.cumsum(added, 1), np.cumsum(hit, 1)
    missing = (held_out.astype(np.int32) - held_out.multiply(own).astype(np.int32)).sum(1)
    has = (missing > 0).astype(np.float64)
    top = {k: (hit & (rank <= k)).sum(1) for k in (1, TOP)}
    average = np.where(hit, hits / np.maximum(rank, 1), 0.0).sum(1)
    shown = np.maximum(missing, 1)
    sums = (has * top[1], has * top[TOP] / TOP, has * top[TOP] / shown, has * average / shown)
    return {name: (values, has) for name, values in zip(RANKED, sums, strict=True)}


def count_drawn(
    supervision: Supervision,
    own: csr_array,
    held_out: csr_array,
    *,
    sampled: int,
    sources: Sequence[np.random.Generator],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """As `rank_added`, for the concepts that are drawn in training: a step for each of `sources`;
    other arguments as in `measure_held_out`.
    """
    named = csr_array((own.astype(np.int32) + held_out.astype(np.int32)).astype(bool))
    correct, count = np.zeros(len(supervision)), np.zeros(len(supervision))
    drawn = np.zeros(supervision.concept.shape, bool)
    is_named = look_up(named, supervision.concept)
    for rng in sources:
        columns = draw(supervision.weight, supervision.cluster, sampled, rng)
        valid, columns = columns >= 0, np.maximum(columns, 0)
        correct += (valid & np.take_along_axis(is_named, columns, 1)).sum(1)
        count += valid.sum(1)
        row, place = np.nonzero(valid)
        drawn[row, columns[row, place]] = True
    named_count = named.astype(np.int32).sum(1).astype(np.float64)
    drawn_named = (drawn & is_named).sum(1).astype(np.float64)
    return dict(zip(DRAWN, ((correct, count), (drawn_named, named_count)), strict=True))


def look_up(matrix: csr_array, concept: np.ndarray) -> np.ndarray:
    """[N, M] bool: the entries of an [N, C] bool matrix at numbers of concepts; False at -1."""
    rows = np.broadcast_to(np.arange(len(concept))[:, None], concept.shape)
    assert matrix.shape is not None
    is_valid = (concept >= 0) & (concept < matrix.shape[1])
    named = np.asarray(matrix[rows.ravel(), np.where(is_valid, concept, 0).ravel()], bool)
    return named.reshape(concept.shape) & is_valid


def resample(ratios: Mapping[str, tuple[np.ndarray, np.ndarray]], *, seed: int) -> dict[str, float]:
    """Each measure with its interval, see `Bootstrap`.

    Args:
        ratios: measure -> numerator and denominator per image, [N] each.
        seed: of the bootstrap.

    Returns:
        each measure, and NAME_low and NAME_high.
    """
    bootstrap = Bootstrap(seed)
    bootstrap.add(ratios)
    return bootstrap.summarise()


class Bootstrap:
    """Measures with intervals: quantiles of a Poisson bootstrap over images, which needs one pass
    over them and keeps none.

    Args:
        seed: of the weights.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 77])
        self.names: list[str] = []
        self.pictures = 0
        self.rest = np.zeros((0, 0))  # fewer than CHUNK images, [n, 2 K]
        self.total, self.sums = np.zeros(0), np.zeros((RESAMPLES, 0))

    def add(self, ratios: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Add the next images; how they are parted changes nothing.

        Args:
            ratios: measure -> numerator and denominator per image, [n] each.
        """
        columns = np.stack([values for pair in ratios.values() for values in pair], 1)
        if not self.names:
            self.names, width = list(ratios), columns.shape[1]
            self.rest, self.total = np.zeros((0, width)), np.zeros(width)
            self.sums = np.zeros((RESAMPLES, width))
        self.pictures += len(columns)
        self.rest = np.concatenate([self.rest, columns])
        while len(self.rest) >= CHUNK:
            self._draw(self.rest[:CHUNK])
            self.rest = self.rest[CHUNK:]

    def _draw(self, chunk: np.ndarray) -> None:
        self.total = np.concatenate([self.total[None], chunk]).sum(0)
        weights = self.rng.poisson(1.0, (RESAMPLES, len(chunk))).astype(np.float32)
        self.sums += weights @ chunk

    def summarise(self) -> dict[str, float]:
        """Each measure, and NAME_low and NAME_high; no image can be added afterwards."""
        if len(self.rest):
            self._draw(self.rest)
        out = {}
        for number, name in enumerate(self.names):
            above, below = self.total[2 * number : 2 * number + 2]
            share = self.sums[:, 2 * number :]
            out[name] = float(above / below) if below else 0.0
            ratio = share[:, 0] / np.where(share[:, 1] > 0, share[:, 1], np.inf)
            low, high = np.quantile(ratio, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            out |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        return out
