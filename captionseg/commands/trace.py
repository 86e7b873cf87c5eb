"""`captionseg trace 32923ceb`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import add_run, make_command


@make_command("trace", "where a pair came from, and what became of it")
@click.argument("pair", metavar="UID|PICTURE")
@click.option("--json", "as_json", is_flag=True, help="everything, as JSON")
@click.option(
    "-k", type=int, default=5, show_default=True, metavar="N", help="number of similar pictures"
)
@add_run
def command(pair: str, *, as_json: bool, k: int, data: Path, models: Path, params: Path) -> None:
    """Print the source row of a pair, its outcome, captions, duplicates and neighbours, the
    concepts and segments that were made of it, and which recipes learnt from it.

    The pair is given by a uid or its beginning, a URL, path or source row (its end is enough), the
    name of a sample in its shard, or a picture file, which is found by its bytes, else by its look.
    Where several pairs fit, they are listed.
    """
    import json

    from captionseg.lineage.history import Places, read_history
    from captionseg.lineage.history_lines import format_history, format_matches
    from captionseg.lineage.lookup import find_pairs, read_row
    from captionseg.records import UserError, one_line

    wanted, places = pair.strip(), Places(data, models, params)
    if not wanted:
        raise UserError("UID|PICTURE: nothing to look for; give a uid, a URL or a picture file")
    if k < 0:
        raise UserError(f"-k: {k} is below 0")
    found = find_pairs(places.pairs, wanted)
    if not found:
        raise UserError(
            f"{one_line(wanted)}: no pair of {places.pairs} has this uid, URL, source row or key, "
            "and no picture file of that name shows one"
        )
    if len(found) > 1:
        rows = [(match, read_row(places.pairs, match)) for match in found]
        if as_json:
            matches = [{**row, **vars(match)} for match, row in rows]
            print(json.dumps({"matches": matches}, indent=2))
        else:
            print(*format_matches(rows), sep="\n")
        return
    history = read_history(places, found[0], neighbours=k)
    if as_json:
        print(json.dumps({"matched": vars(found[0]), **history}, indent=2, allow_nan=False))
    else:
        print(*format_history(history, found[0]), sep="\n")
