"""Curation of a made-up index (512 dimensions, 256 neighbours, 20,000 concepts, four nouns a
caption), against a plain loop; and how its time and memory grow.

    python -m perf.curation [--pairs N] [--concepts 20000] [--workers 2] [--rounds 3]
        [--folder FOLDER] [--picture PATH]

The reference curates by CoCu as the paper has it, a picture after the other: it counts the concepts
of the neighbours' captions, computes f of each candidate with the picture and with the neighbours
that name it, and sorts. Both give the same concepts and scores; ours also clusters and weighs them.
The ratio is that of pictures a second, on one core.

With `--pairs` the whole stage runs on N/10 and N pairs, all rules of the default run
(`cocu_calibrated` with `minimum_support: 2`) and a vocabulary from a file. The seconds are of the
clock and of all cores; the exponent is of the latter. Memory is the largest sum over all processes
of what is theirs alone (RssAnon and RssShmem of the kernel, looked at every .05 s): pages of files
that are memory-mapped are shared, and go when memory is short. Bytes a pair are the difference of
the two sizes. `--picture` adds N/100, and draws all three.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captionseg.curation import corpus as corpora
from captionseg.curation.cocu import CoCu
from captionseg.curation.cocu_calibrated import CalibratedCoCu
from captionseg.curation.marked import Inputs
from captionseg.curation.pipeline import Known, curate
from captionseg.curation.relevance import make_positive
from captionseg.curation.rule import supervise
from captionseg.curation.rules import CurateParams
from captionseg.records import Corpus
from captionseg.runtime.params import RuntimeParams
from captionseg.supervision.columns import Supervision
from captionseg.text.vocabulary import Vocabulary, VocabularyParams
from perf.made_up_index import embed_concepts, name_concepts, write_index

NEIGHBOURS = 256
RULE = CoCu(neighbours=NEIGHBOURS)
COMPARED = 20_000  # pairs
LOOPED = 500  # of them by the loop
RULES = ["nouns", "caption_retrieval", "cocu", "cocu_calibrated"]


class Cost(NamedTuple):
    """Of a run: pairs, seconds of the clock and of all cores, bytes of memory."""

    pairs: int
    clock: float
    cores: float
    memory: int


def loop(corpus: Corpus, rows: range) -> list[dict[int, float]]:
    """For each picture its concepts, best first, with their scores: the reference."""
    named = [
        corpus.named.indices[start:end].tolist()
        for start, end in itertools.pairwise(corpus.named.indptr)
    ]
    image, concept = corpus.image_embedding[:], corpus.concept_embedding
    curated = []
    for row in rows:
        naming = defaultdict(list)  # concept -> neighbours that name it
        for near in corpus.neighbours[row]:
            for number in named[near]:
                naming[number].append(near)
        own = set(named[row])
        scores = {}
        for number in own | {n for n, by in naming.items() if len(by) >= RULE.minimum_support}:
            near = naming.get(number, [])
            f = make_positive(image[[row, *near]] @ concept[number], RULE.positive)
            scores[number] = float(f[0] + (1 + len(near)) * f[0] / f.sum())
        best = sorted(scores, key=lambda number: (number not in own, -scores[number], number))
        curated.append({number: scores[number] for number in best[: RULE.limit]})
    return curated


def compare(inputs: Inputs, concepts: int, rounds: int) -> float:
    """Print pictures a second of both; returns the ratio."""
    words = Vocabulary(tuple(name_concepts(concepts)), {})
    corpus, _ = corpora.load(inputs.index, inputs.features, lambda _: words, embed_concepts)
    rows, taken = np.arange(len(corpus)), []
    for _ in range(rounds):
        start = time.process_time()
        fitted, before = RULE.fit(corpus), Supervision.blank(corpus.uid[rows])
        found = supervise(RULE, fitted, corpus, before, name="cocu", rows=rows)
        middle = time.process_time()
        expected = loop(corpus, range(LOOPED))
        taken.append((middle - start, time.process_time() - middle))
    for row, scores in enumerate(expected):
        count = found.count[row]
        assert found.concept[row, :count].tolist() == list(scores), row
        np.testing.assert_allclose(found.score[row, :count], list(scores.values()), atol=1e-5)
    ours, plain = np.median(taken, axis=0)
    speed = {"captionseg": len(corpus) / ours, "plain loop": LOOPED / plain}
    for name, pictures in speed.items():
        print(f"{name:12} {pictures:9.0f} pictures/s")
    return speed["captionseg"] / speed["plain loop"]


def run(inputs: Inputs, out: Path, words: Path, workers: int) -> None:
    """The stage."""
    params = CurateParams(
        RULES,
        vocabulary=VocabularyParams(file=str(words)),
        cocu=RULE,
        cocu_calibrated=CalibratedCoCu(neighbours=NEIGHBOURS),
    )
    runtime = RuntimeParams(workers=workers)
    curate(inputs, embed_concepts, params, known=Known(), supervision=out, seed=0, runtime=runtime)


def list_family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    family = [pid]
    for one in family:
        for task in Path("/proc", str(one), "task").glob("*/children"):
            family += map(int, task.read_text().split())
    return family


def measure_memory(pid: int) -> int:
    """Bytes that belong to a process and its descendants alone."""
    total = 0
    for one in list_family(pid):
        try:
            lines = Path("/proc", str(one), "status").read_text().splitlines()
        except OSError:  # it ended
            continue
        status: Counter[str] = Counter()
        for name, _, value in (line.partition(":") for line in lines):
            if name in ("RssAnon", "RssShmem"):
                status[name] = int(value.split()[0]) * 1024
        total += status.total()
    return total


def time_run(folder: Path, pairs: int, concepts: int, workers: int) -> Cost:
    """Make an index and run the stage on it, in a process of its own."""
    inputs = write_index(folder, pairs, concepts=concepts, neighbours=NEIGHBOURS)
    words = folder / "words.txt"
    words.write_text("\n".join(name_concepts(concepts)))
    process = get_context("spawn").Process(
        target=run, args=(inputs, folder / "supervision", words, workers)
    )
    clock, cores, most = time.perf_counter(), sum(os.times()[2:4]), 0
    process.start()
    while process.is_alive():
        try:
            most = max(most, measure_memory(process.pid or 0))
        except OSError:
            continue
        time.sleep(0.05)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the run on {pairs} pairs ended with exit code {process.exitcode}")
    cost = Cost(pairs, time.perf_counter() - clock, sum(os.times()[2:4]) - cores, most)
    print(
        f"{pairs:9} pairs {cost.clock:7.1f} s, {cost.cores:7.1f} s of cores, "
        f"{cost.memory / 1e6:7.0f} MB"
    )
    return cost


def draw(costs: list[Cost], path: Path) -> None:
    """Draw how time and memory grow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), dpi=100, layout="constrained")
    pairs = [cost.pairs for cost in costs]
    panels = figure.subplots(1, 2)
    values = {"seconds of cores": [c.cores for c in costs], "MB": [c.memory / 1e6 for c in costs]}
    for axes, (label, value) in zip(panels, values.items(), strict=True):
        axes.loglog(pairs, value, "o-", color="tab:blue", label="curate")
        line = [value[-1] * count / pairs[-1] for count in pairs]
        axes.loglog(pairs, line, "--", color="tab:gray", label="proportional")
        axes.set(xlabel="pairs", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.curation", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--concepts", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where indexes are made, for a while")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    print(f"{arguments.concepts} concepts, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        inputs = write_index(
            Path(folder), COMPARED, concepts=arguments.concepts, neighbours=NEIGHBOURS
        )
        ratio = compare(inputs, arguments.concepts, arguments.rounds)
    costs = []
    for part in (100, 10, 1) if arguments.picture else (10, 1):
        if arguments.pairs:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                pairs = arguments.pairs // part
                costs.append(time_run(Path(folder), pairs, arguments.concepts, arguments.workers))
    if arguments.picture:
        draw(costs, arguments.picture)
    if costs:
        less, more = costs[-2:]
        growth = more.pairs / less.pairs
        exponent = math.log(more.cores / less.cores) / math.log(growth)
        memory = (more.memory - less.memory) / (more.pairs - less.pairs)
        print(f"exponent {exponent:.2f}, {memory:.0f} bytes a pair")
    print(f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
