"""How much better one recipe is than another: a paired bootstrap over the pictures that both were scored on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.benchmarks.areas import read
from captionseg.metrics import Difference, paired
from captionseg.records import UserError, one_line


def difference(folder: Path, one: str, other: str, *, samples: int, seed: int) -> Difference:
    """mIoU of a recipe less that of another, 0 to 100, each the mean over its seeds; see `metrics.paired`.

    Args:
        folder: that the stage evaluate left areas in.
        one: name of a recipe.
        other: name of the recipe that it is compared with.
        samples: bootstrap data sets.
        seed: of the draws.

    Raises:
        UserError: for a recipe that was not scored.
    """
    files = [folder / f"{name}.parquet" for name in (one, other)]
    if missing := next((file for file in files if not file.is_file()), None):
        known = ", ".join(sorted(path.stem for path in folder.glob("*.parquet"))) or "none"
        raise UserError(f"{missing}: no areas of that recipe (there: {known}); run `dvc repro`")
    try:
        classes = [pq.read_table(file, columns=["class"])["class"].to_numpy().max(initial=0) for file in files]
        areas = read(files, 1 + int(max(classes)))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{folder}: not areas of a recipe: {one_line(error)}; run `dvc repro` again") from None
    if not all(len(found) and found.any((1, 2, 3)).all() for found in areas):
        raise UserError(f"{one} and {other} were not scored on the same pictures; run `dvc repro evaluate`")
    found = paired(*areas, samples=samples, seed=seed)
    return Difference(100 * found.mean, 100 * found.low, 100 * found.high, found.better)
