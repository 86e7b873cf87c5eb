"""`captionseg query-segments "a red apple" -k 20`."""

from __future__ import annotations

import argparse
from pathlib import Path

from captionseg.commands.options import add_device
from captionseg.terminal import number

MODEL = Path("models/cocu-use")


def add(commands: argparse._SubParsersAction) -> None:
    """Add `query-segments` and its arguments."""
    one = commands.add_parser(
        "query-segments", help="search segments by text", description=run.__doc__
    )
    one.add_argument("text", help='what to look for: "a red apple"')
    one.add_argument("-k", type=int, default=20, help="number of results (default: %(default)s)")
    one.add_argument(
        "--min-score",
        type=number("--min-score"),
        default=float("-inf"),
        metavar="COSINE",
        help="drop segments with a lower score (default: keep all)",
    )
    add_folders(one)
    one.add_argument(
        "--out",
        type=Path,
        default=Path("query.png"),
        help="contact sheet to write; an existing file is overwritten (default: %(default)s)",
    )
    add_device(one)
    one.set_defaults(run=run)


def add_folders(one: argparse.ArgumentParser) -> None:
    """Add the folders of the model, the segments and their index."""
    one.add_argument(
        "--model",
        type=Path,
        default=MODEL,
        help="folder of a trained recipe with `model: use` (default: %(default)s)",
    )
    one.add_argument(
        "--segments",
        type=Path,
        default=Path("data/segments"),
        help="folder written by stage segment_text; pairs, index and features must be next to it "
        "(default: %(default)s)",
    )
    one.add_argument(
        "--index",
        type=Path,
        help="folder of the embedding index, built if missing or stale "
        "(default: segment_index/MODEL next to the segments)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Find the segments that match a text best, print them as a table and write a contact sheet."""
    from captionseg.inference.prepared_folders import PreparedFolders
    from captionseg.inference.segment_index import open_index
    from captionseg.inference.segment_model import SegmentModel
    from captionseg.records import UserError
    from captionseg.reporting.overlay import check_writable, write_picture
    from captionseg.reporting.query import add_pictures, draw_contact_sheet, format_table

    text, root = " ".join(arguments.text.split()), arguments.segments.parent
    if not text:
        raise UserError('text: empty; give what to search for, such as "a red apple"')
    if arguments.k < 1:
        raise UserError(f"-k: expected at least 1, found {arguments.k}")
    check_writable(arguments.out)
    prepared = PreparedFolders(root / "pairs", root / "index", root / "regions", root / "features")
    model = SegmentModel.load(arguments.model, device=arguments.device)
    folder = arguments.index or root / "segment_index" / arguments.model.resolve().name
    index = open_index(folder, arguments.segments, model, prepared)
    query = model.texts([text])[0]
    hits = index.search(query, arguments.k, min_score=arguments.min_score)
    if not hits:
        best = index.search(query, 1)[0].score
        print(
            f"none of {len(index)} segments scores {arguments.min_score:g} or more; the best "
            f"score is {best:.3f}"
        )
        return
    pictured = add_pictures(hits, prepared)
    title = f'"{text}"   in {len(index)} segments, by {arguments.model.name}'
    write_picture(draw_contact_sheet(title, pictured), arguments.out)
    print(*format_table(pictured), arguments.out, sep="\n")
