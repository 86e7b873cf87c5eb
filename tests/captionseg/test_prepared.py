"""Features and masks of the run's own data, row by row, against the files themselves."""

import numpy as np

from captionseg.prepared import Known, PreparedInputs
from captionseg.storage import read_arrays


def test_known_pictures_of_a_split_in_the_order_of_the_index(world):
    known = Known.of_split(world.index, world.truth, "test")
    split = np.array(world.table["split"].to_pylist())
    assert known.rows.tolist() == np.flatnonzero(split == "test").tolist()
    assert known.uid == np.array(world.table["uid"].to_pylist())[known.rows].tolist()
    assert len(known) == len(known.masks) == 8
    assert len(Known.of_split(world.index, world.truth, "nowhere")) == 0


def test_inputs_are_those_of_the_files_in_the_order_asked_for(world):
    rows = np.array([7, 2, 40])
    inputs = PreparedInputs(world.regions)(rows, (5, 6))
    pooled, labels = (read_arrays(world.regions / name) for name in ("pooled", "labels"))
    np.testing.assert_array_equal(inputs.regions, pooled[rows, :4].astype(np.float32))  # of four regions each
    np.testing.assert_array_equal(inputs.labels, labels[rows])
    assert inputs.region_mask.all()
    assert inputs.size == (5, 6)
