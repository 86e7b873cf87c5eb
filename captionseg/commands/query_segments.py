"""`captionseg query-segments "a red apple" -k 20`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from captionseg.commands.options import PATH, add_device, make_command
from captionseg.terminal import number


@make_command("query-segments", "search segments by text")
@click.argument("text")
@click.option("-k", type=int, default=20, show_default=True, help="number of results")
@click.option(
    "--min-score",
    type=number("--min-score"),
    default=float("-inf"),
    metavar="COSINE",
    help="drop segments with a lower score (default: keep all)",
)
@click.option(
    "--model",
    type=PATH,
    default=Path("models/cocu-use"),
    show_default=True,
    help="folder of a trained recipe with `model: use`",
)
@click.option(
    "--segments",
    type=PATH,
    default=Path("data/segments"),
    show_default=True,
    help="folder written by stage segment_text; pairs, index and features must be next to it",
)
@click.option(
    "--index",
    type=PATH,
    help="folder of the embedding index, built if missing or stale (default: segment_index/MODEL "
    "next to the segments)",
)
@click.option(
    "--out",
    type=PATH,
    default=Path("query.png"),
    show_default=True,
    help="contact sheet to write; an existing file is overwritten",
)
@add_device
def command(
    text: str, *, k: int, min_score: float, segments: Path, out: Path, **where: Any
) -> None:
    """Find the segments that match TEXT best, such as "a red apple", print them as a table and
    write a contact sheet.
    """
    from captionseg.inference.prepared_folders import PreparedFolders
    from captionseg.inference.segment_index import open_index
    from captionseg.inference.segment_model import SegmentModel
    from captionseg.records import UserError
    from captionseg.reporting.overlay import check_writable, write_picture
    from captionseg.reporting.query import add_pictures, draw_contact_sheet, format_table

    text, root, home = " ".join(text.split()), segments.parent, where["model"]
    if not text:
        raise UserError('text: empty; give what to search for, such as "a red apple"')
    if k < 1:
        raise UserError(f"-k: expected at least 1, found {k}")
    check_writable(out)
    prepared = PreparedFolders(root / "pairs", root / "index", root / "regions", root / "features")
    model = SegmentModel.load(home, device=where["device"])
    folder = where["index"] or root / "segment_index" / home.resolve().name
    index = open_index(folder, segments, model, prepared)
    query = model.texts([text])[0]
    hits = index.search(query, k, min_score=min_score)
    if not hits:
        best = index.search(query, 1)[0].score
        print(
            f"none of {len(index)} segments scores {min_score:g} or more; the best score is "
            f"{best:.3f}"
        )
        return
    pictured = add_pictures(hits, prepared)
    title = f'"{text}"   in {len(index)} segments, by {home.name}'
    write_picture(draw_contact_sheet(title, pictured), out)
    print(*format_table(pictured), out, sep="\n")
