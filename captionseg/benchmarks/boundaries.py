"""Boundaries of pictures whose truth leaves pixels out, such as the band along every border of VOC's objects."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from captionseg import metrics


def edges(predicted: np.ndarray, true: np.ndarray, classes: int, *, ignore: int) -> np.ndarray:
    """[4, C] int64, see `metrics.boundary_matches`, where a border may lie in a band of ignored pixels.

    Ignored pixels have the true label of the nearest pixel with one, as far as boundaries may lie apart; those beyond
    count nowhere. A predicted boundary on ignored pixels counts only where it is right: it cannot be wrong there.

    Args:
        predicted: [H, W] integer labels below `classes`.
        true: [H, W] integer labels.
        classes: C.
        ignore: label that is left out.
    """
    void = true == ignore
    if not void.any() or void.all():
        return metrics.boundary_matches(predicted, true, classes, ignore=ignore)
    reach = int(np.ceil(metrics.BAND * np.hypot(*true.shape)))
    distance, nearest = ndimage.distance_transform_edt(void, return_indices=True)  # type: ignore[misc]
    maps = [np.asarray(predicted, np.int32), true[tuple(nearest)].astype(np.int32)]
    found, wanted = (np.where(metrics.boundary(labels) & (distance <= reach), labels, -1) for labels in maps)
    counts = []
    for mine, other in ((found, wanted), (wanted, found)):
        places = np.nonzero(mine >= 0)
        label, met = mine[places], metrics.near(places, mine[places], other, reach)
        judged = met | ~void[places] if mine is found else np.ones_like(met)
        counts += [np.bincount(label[rows], minlength=classes) for rows in (judged, met)]
    return np.stack(counts)
