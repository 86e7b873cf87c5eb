"""`captionseg neighbours 32923ceb`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, add_run, make_command


@make_command("neighbours", "a pair's neighbours, and the concepts that their captions gave it")
@click.argument("pair", metavar="UID|PICTURE")
@click.option(
    "-k", type=int, default=14, show_default=True, metavar="N", help="number of neighbours"
)
@click.option(
    "--rule", default="cocu", show_default=True, metavar="RULE", help="whose concepts are shown"
)
@click.option(
    "-o", "--out", type=PATH, help="sheet to write (default: UID_neighbours.png in this folder)"
)
@add_run
def command(
    pair: str, *, k: int, rule: str, out: Path | None, data: Path, models: Path, params: Path
) -> None:
    """Write a sheet of a pair, its most similar pictures, their captions and which concepts of the
    pair each of them names, and print the concepts with the numbers of these neighbours.

    The pair is given as for `captionseg trace`.
    """
    from captionseg.api.neighbour_sheet import draw_sheet, format_concepts, list_pictured
    from captionseg.lineage.history import Places, read_history
    from captionseg.lineage.lookup import find_pairs
    from captionseg.records import UserError, one_line
    from captionseg.reporting.overlay import check_writable, write_picture

    if k < 1:
        raise UserError(f"-k: expected at least 1, found {k}")
    places, wanted = Places(data, models, params), pair.strip()
    found = find_pairs(places.pairs, wanted) if wanted else []
    if len(found) != 1:
        count = f"{len(found)} pairs fit" if found else "no pair fits"
        raise UserError(f"{one_line(wanted)}: {count}; `captionseg trace` lists what it finds")
    history = read_history(places, found[0], neighbours=k)
    uid = history["pair"]["uid"]
    out = out or Path(f"{uid[:8]}_neighbours.png")
    check_writable(out)
    pictured = list_pictured(history, places, rule)
    concepts = history["rules"][rule]["concepts"]
    title = f"{uid[:8]}, {rule}: {', '.join(concept['text'] for concept in concepts) or 'nothing'}"
    write_picture(draw_sheet(title, pictured), out)
    print(*format_concepts(concepts, pictured), out, sep="\n")
