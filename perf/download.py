"""Pictures a second of download over HTTP: ours against img2dataset, or against a bare loop.

    python -m perf.download [--images 3000] [--connections 64] [--workers 2] [--rounds 2] \
        [--img2dataset ENVIRONMENT/bin/img2dataset]

A server on this machine has small JPEGs and waits a little before it sends one. Each side asks for
all of them over as many connections from as many processes, decodes each, shrinks it if it is
larger than 512 pixels, encodes it anew and writes shards of tar and parquet. The bare loop is
aiohttp and Pillow with no checks and no retries. Times are those of whole runs, with the start of
their processes; the sides take turns, and the medians are compared. On a machine that others use,
seconds of cores say more than those of the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import os
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyarrow import csv

from captionseg.datasets.download import write_shards
from captionseg.runtime.params import RuntimeParams
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.urls import Urls

HERE = "127.0.0.1"
DISTINCT = 50  # pictures of the server; each is there under many names
LONGEST = 512


def draw_jpegs(side: int) -> list[bytes]:
    """Pictures with as much detail as photographs have."""
    rng, found = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 12, side // 9, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((side * 4 // 3, side), Image.Resampling.BICUBIC))
        picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(stream := io.BytesIO(), "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def serve(side: int, pause: float, told: multiprocessing.Queue) -> None:
    """A server's life: any path that ends in NUMBER.jpg is a picture."""
    heads = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    answers = [heads % len(jpeg) + jpeg for jpeg in draw_jpegs(side)]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                number = int(head.split(b" ", 2)[1].rpartition(b"/")[2].partition(b".")[0])
                await asyncio.sleep(pause)
                writer.write(answers[number % DISTINCT])
                await writer.drain()
                if b"connection: close" in head.lower():
                    break
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, HERE, 0, backlog=4096)
        told.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def serving(side: int, pause: float) -> Iterator[int]:
    """The port of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=serve, args=(side, pause, told), daemon=True)
    process.start()
    try:
        yield told.get(timeout=60)
    finally:
        process.terminate()
        process.join()


def run_ours(listing: Path, folder: Path, options: argparse.Namespace) -> int:
    """Pictures that the download of captionseg has written."""
    http = HttpParams(
        connections=options.connections,
        connections_per_host=options.connections,
        allow=(f"{HERE}/32",),
    )
    source = Urls(path=str(listing), http=http, max_side=LONGEST, tune=0.0, test=0.0)
    found = write_shards(
        source,
        folder / "pairs",
        folder / "truth",
        shard_size=options.shard_size,
        min_success=1.0,
        seed=0,
        runtime=RuntimeParams(workers=options.workers),
    )
    return int(found["pairs"])


def run_img2dataset(listing: Path, folder: Path, options: argparse.Namespace) -> int:
    """Pictures that img2dataset has written; its shards are those of the users' settings."""
    words = {
        "url_list": listing,
        "output_folder": folder,
        "input_format": "csv",
        "url_col": "url",
        "caption_col": "caption",
        "output_format": "webdataset",
        "processes_count": options.workers,
        "thread_count": options.connections // options.workers,
        "number_sample_per_shard": options.shard_size,
        "resize_mode": "keep_ratio_largest",
        "image_size": LONGEST,
        "resize_only_if_bigger": True,
        "encode_quality": 92,
        "enable_wandb": False,
    }
    command = [str(options.img2dataset), *(f"--{name}={value}" for name, value in words.items())]
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    del environment["PYTHONPATH"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    tables = [pq.read_table(path, columns=["status"]) for path in folder.glob("*.parquet")]
    return pa.concat_tables(tables)["status"].to_pylist().count("success")


def run_bare(listing: Path, folder: Path, options: argparse.Namespace) -> int:
    """Pictures that a loop of aiohttp and Pillow has written."""
    folder.mkdir()
    table = csv.read_csv(listing).to_pylist()
    shards = [
        (folder / f"{start:08d}", table[start : start + options.shard_size])
        for start in range(0, len(table), options.shard_size)
    ]
    work = functools.partial(write_bare, connections=options.connections // options.workers)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.workers, context) as pool:
        return sum(pool.map(work, shards))


def write_bare(shard: tuple[Path, list[dict[str, str]]], *, connections: int) -> int:
    """A shard of the bare loop: decoding in one thread, beside the connections."""
    path, rows = shard

    async def fetch() -> list[bytes]:
        loop, thread = asyncio.get_running_loop(), concurrent.futures.ThreadPoolExecutor(1)
        connector = aiohttp.TCPConnector(limit=connections)

        async def fetch_one(url: str) -> bytes:
            async with session.get(url) as response:
                data = await response.read()
            return await loop.run_in_executor(thread, encode, data)

        async with aiohttp.ClientSession(connector=connector) as session:
            return await asyncio.gather(*(fetch_one(row["url"]) for row in rows))

    with tarfile.open(path.with_suffix(".tar"), "w") as tar:
        for number, jpeg in enumerate(asyncio.run(fetch())):
            for end, data in (("jpg", jpeg), ("txt", rows[number]["caption"].encode())):
                info = tarfile.TarInfo(f"{path.name}{number:05d}.{end}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return len(rows)


def encode(data: bytes) -> bytes:
    """A picture as a JPEG of at most LONGEST pixels a side."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    image.save(stream := io.BytesIO(), "JPEG", quality=92)
    return stream.getvalue()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf.download", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--side", type=int, default=240, help="height of a picture, pixels")
    parser.add_argument("--pause", type=float, default=0.02, help="of the server, seconds")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--img2dataset", type=Path, help="the command, in an environment of its own"
    )
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    reference = "img2dataset" if options.img2dataset else "bare loop"
    sides: dict[str, Callable[[Path, Path, argparse.Namespace], int]] = {
        "captionseg": run_ours,
        reference: run_img2dataset if options.img2dataset else run_bare,
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    cores: dict[str, list[float]] = {name: [] for name in sides}
    with serving(options.side, options.pause) as port, tempfile.TemporaryDirectory() as folder:
        listing = Path(folder, "list.csv")
        lines = [f"http://{HERE}:{port}/{n}.jpg,picture {n}" for n in range(options.images)]
        listing.write_text("\n".join(["url,caption", *lines, ""]))
        for turn in range(options.rounds):
            for name, run in sides.items():
                start, before = time.perf_counter(), sum(os.times()[:4])
                written = run(listing, Path(folder, f"{name}{turn}"), options)
                seconds[name].append(time.perf_counter() - start)
                cores[name].append(sum(os.times()[:4]) - before)
                if written != options.images:
                    raise SystemExit(f"{name}: {written} of {options.images} pictures")
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    print(
        f"{options.images} pictures of {options.side} pixels, {options.connections} connections, "
        f"{options.workers} processes, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for name, taken in median.items():
        print(
            f"{name:12} {taken:7.2f} s ({statistics.median(cores[name]):.2f} s of cores) "
            f"{options.images / taken:7.0f} images/s"
        )
    print(f"ratio {median[reference] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
