"""Regions of a whole corpus: what lies where, that finished shards are kept, and that processes
change nothing.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg.datasets.download import write_shards
from captionseg.datasets.shard_images import read_images
from captionseg.records import ClassTable, UserError
from captionseg.regioning import write_regions
from captionseg.runtime.params import RuntimeParams
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.region_files import map_labels
from captionseg.sources.source import Sample
from captionseg.storage.folders import read_arrays
from captionseg.storage.packed import PackedArray, write_packed

MAKER = Felzenszwalb(side=32, min_size=20, max_regions=8)


class Noise:
    """Pictures of four by four random colours."""

    def prepare(self, folder=None) -> None: ...

    def splits(self) -> dict[str, int]:
        return {"train": 6, "test": 2}

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        return [self.sample(split, number) for number in numbers]

    def sample(self, split: str, number: int) -> Sample:
        colours = np.random.default_rng([number, len(split)]).integers(
            0, 256, (4, 4, 3), dtype=np.uint8
        )
        stream = io.BytesIO()
        Image.fromarray(colours.repeat(16, 0).repeat(16, 1)).save(stream, "JPEG")
        return Sample(f"noise:{split}/{number}", "noise", split, stream.getvalue(), 64, 64)

    def classes(self) -> ClassTable:
        return ClassTable(())

    def licences(self) -> str:
        return ""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder with pairs/ (four, two and two)."""
    write_shards(
        Noise(), tmp_path / "pairs", tmp_path / "truth", shard_size=4, min_success=0.5, seed=0
    )
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*_*.*"))}


def test_files_of_every_shard_in_the_order_of_its_pairs(data: Path) -> None:
    out = data / "regions"
    found = write_regions(data / "pairs", out, maker=MAKER)
    packed, count = map_labels(out), read_arrays(out / "count")
    assert (packed.shape, packed.dtype) == ((8, 32, 32), np.uint8)
    labels = packed[np.arange(8)]
    assert (count.shape, count.dtype) == ((8,), np.uint8)
    assert found == {"images": 8.0, "per_image": pytest.approx(count.mean())}
    assert np.array_equal(labels.max(axis=(1, 2)) + 1, count)
    (_, image), row = list(read_images(data / "pairs", "00001"))[1], 5
    assert np.array_equal(labels[row], MAKER.regions(image))


def test_a_killed_run_keeps_its_finished_shards_and_ends_the_same(data: Path) -> None:
    whole, out = data / "whole", data / "regions"
    write_regions(data / "pairs", whole, maker=MAKER, runtime=RuntimeParams(workers=2))
    write_regions(data / "pairs", out, maker=MAKER)
    assert contents(out) == contents(whole)
    (out / "count" / "count_00001.npy").unlink()  # as if killed before the shard's last file
    kept = (out / "labels" / "labels_00000.arrow").stat().st_mtime_ns
    write_regions(data / "pairs", out, maker=MAKER)
    assert contents(out) == contents(whole)
    assert (out / "labels" / "labels_00000.arrow").stat().st_mtime_ns == kept


def test_a_shard_without_any_picture_has_no_regions(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(self, split: str, number: int) -> Sample:
        return Sample(
            f"noise:{split}/{number}", "noise", split, status="failed_to_download", error="404"
        )

    whole = Noise.sample
    monkeypatch.setattr(Noise, "sample", lambda *a: sample(*a) if a[1] == "test" else whole(*a))
    write_shards(Noise(), data / "few", data / "none", shard_size=4, min_success=0.5, seed=0)
    found = write_regions(data / "few", data / "regions", maker=MAKER)
    assert found["images"] == 6
    assert not (data / "regions" / "count" / "count_00002.npy").exists()


@pytest.mark.parametrize("name", ["labels", "count"])
def test_a_shard_that_lacks_a_file_or_a_row_is_made_again_and_never_left(
    data: Path, monkeypatch, name: str
) -> None:
    def write() -> None:
        write_regions(data / "pairs", data / "regions", maker=MAKER)

    def cut() -> None:
        if name == "labels":
            write_packed(PackedArray(file)[np.arange(1)], file)
        else:
            array = np.load(file)
            file.unlink()
            np.save(file, array[:1])

    def spread(work, jobs, *_, **__):
        yield from map(work, jobs)
        damage()

    write()
    whole = contents(data / "regions")
    (file,) = (data / "regions" / name).glob(f"{name}_00001.*")
    for damage, found in (
        (file.unlink, "missing, or torn"),
        (cut, "1 rows, expected 2"),
        (lambda: file.write_bytes(file.read_bytes()[:-1]), "missing, or torn"),
    ):
        write()
        damage()
        write()
        assert contents(data / "regions") == whole
        with monkeypatch.context() as patch:
            patch.setattr("captionseg.regioning.spread", spread)
            with pytest.raises(
                UserError, match=f"regions: .*{file.name}: {found}; no output was written"
            ):
                write()
