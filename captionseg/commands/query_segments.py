"""`captionseg query-segments "a red apple" -k 20`."""

from __future__ import annotations

import argparse
from pathlib import Path

from captionseg.terminal import number

MODEL = Path("models/cocu-use")


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `query-segments`."""
    one = commands.add_parser(
        "query-segments", help="find segments with words", description=run.__doc__
    )
    one.add_argument("text", help='what to look for: "a red apple"')
    one.add_argument("-k", type=int, default=20, help="how many (default: %(default)s)")
    one.add_argument(
        "--min-score",
        type=number("--min-score"),
        default=float("-inf"),
        metavar="COSINE",
        help="leave out segments below it (default: none)",
    )
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
        help="what the stage segment_text wrote; "
        "pairs, index and features lie beside it (default: %(default)s)",
    )
    one.add_argument(
        "--index",
        type=Path,
        help="folder of the index of embeddings, made when it is not there or stale "
        "(default: segment_index/MODEL beside the segments)",
    )
    one.add_argument(
        "--out",
        type=Path,
        default=Path("query.png"),
        help="sheet of what was found to write, in "
        "place of one that is there (default: %(default)s)",
    )
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Find the segments that a text fits best; print them as a table, write a sheet of their
    pictures.
    """
    from captionseg.inference.inputs import PreparedFolders
    from captionseg.inference.segment_index import open_index
    from captionseg.inference.segment_model import SegmentModel
    from captionseg.records import UserError
    from captionseg.reporting.overlay import check_writable, write_picture
    from captionseg.reporting.query import add_pictures, draw_contact_sheet, format_table

    text, root = " ".join(arguments.text.split()), arguments.segments.parent
    if not text:
        raise UserError('text: nothing to look for; say what, for example "a red apple"')
    if arguments.k < 1:
        raise UserError(f"-k: {arguments.k} segments are none; ask for at least 1")
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
            f"no segment of {len(index)} has a score of {arguments.min_score:g}; the best has "
            f"{best:.3f}"
        )
        return
    found = add_pictures(hits, prepared)
    title = f'"{text}"   in {len(index)} segments, by {arguments.model.name}'
    write_picture(draw_contact_sheet(title, found), arguments.out)
    print(*format_table(found), arguments.out, sep="\n")
