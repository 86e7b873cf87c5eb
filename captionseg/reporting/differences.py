"""The difference between two recipes, by a paired bootstrap over the pictures both were
scored on.
"""

from __future__ import annotations

from pathlib import Path

from captionseg.benchmarks.areas import SCHEMA, read
from captionseg.metrics import Difference, paired_difference
from captionseg.records import UserError
from captionseg.storage.reading import read_table


def compute_difference(
    folder: Path, one: str, other: str, *, samples: int, seed: int, resample_seeds: bool = False
) -> Difference:
    """Compute the mIoU of one recipe minus that of another, 0 to 100, each a mean over its seeds;
    see `metrics.paired_difference`.

    Args:
        folder: folder of the areas that stage evaluate wrote.
        one: name of a recipe.
        other: name of the recipe to compare it with.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.
        resample_seeds: draw the seeds of each recipe too.

    Raises:
        UserError: for a recipe that was not scored, and for a single picture.
    """
    files = [folder / f"{name}.parquet" for name in (one, other)]
    if missing := next((file for file in files if not file.is_file()), None):
        known = ", ".join(sorted(path.stem for path in folder.glob("*.parquet"))) or "none"
        raise UserError(f"{missing}: no areas of this recipe (found: {known}); run `dvc repro`")
    classes = [
        read_table(file, schema=SCHEMA, columns=["class"])["class"].to_numpy().max(initial=0)
        for file in files
    ]
    areas = read(files, 1 + int(max(classes)))
    if not all(len(difference) and difference.any((1, 2, 3)).all() for difference in areas):
        raise UserError(
            f"{one} and {other} were not scored on the same pictures; run `dvc repro evaluate`"
        )
    if len(areas[0]) < 2:  # every bootstrap sample would be the same
        raise UserError(
            f"{folder}: {one} and {other} were scored on one picture, so no interval can be given; "
            "score them on more"
        )
    difference = paired_difference(
        *areas, samples=samples, seed=seed, resample_seeds=resample_seeds
    )
    return Difference(
        100 * difference.mean, 100 * difference.low, 100 * difference.high, difference.better
    )
