"""`captionseg trace 32923ceb`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `trace`."""
    one = commands.add_parser(
        "trace", help="where a pair came from, and what became of it", description=run.__doc__
    )
    one.add_argument(
        "pair",
        metavar="UID|PICTURE",
        help="a uid or its beginning, a URL, path or source row (its end is enough), the name of a "
        "sample in its shard, or a picture file, which is found by its bytes, else by its look",
    )
    one.add_argument("--json", action="store_true", help="everything, as JSON")
    one.add_argument(
        "-k", type=int, default=5, metavar="N", help="similar pictures (default: %(default)s)"
    )
    one.add_argument(
        "--data", type=Path, default=Path("data"), help="of the run (default: %(default)s)"
    )
    one.add_argument(
        "--models", type=Path, default=Path("models"), help="of the run (default: %(default)s)"
    )
    one.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="that says by which rule a recipe learns (default: %(default)s)",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the source row of a pair, its outcome, captions, duplicates and neighbours, the
    concepts and segments that were made of it, and which recipes learnt from it. Where several
    pairs fit, they are listed."""
    import json

    from captionseg.lineage.history import Places, read_history
    from captionseg.lineage.history_lines import format_history, format_matches
    from captionseg.lineage.lookup import find_pairs, read_row
    from captionseg.records import UserError, one_line

    wanted = arguments.pair.strip()
    places = Places(arguments.data, arguments.models, arguments.params)
    if not wanted:
        raise UserError("UID|PICTURE: nothing to look for; give a uid, a URL or a picture file")
    if arguments.k < 0:
        raise UserError(f"-k: {arguments.k} is below 0")
    found = find_pairs(places.pairs, wanted)
    if not found:
        raise UserError(
            f"{one_line(wanted)}: no pair of {places.pairs} has this uid, URL, source row or key, "
            "and no picture file of that name shows one"
        )
    if len(found) > 1:
        rows = [(match, read_row(places.pairs, match)) for match in found]
        if arguments.json:
            print(
                json.dumps({"matches": [{**row, **vars(match)} for match, row in rows]}, indent=2)
            )
        else:
            print(*format_matches(rows), sep="\n")
        return
    history = read_history(places, found[0], neighbours=arguments.k)
    if arguments.json:
        print(json.dumps({"matched": vars(found[0]), **history}, indent=2, allow_nan=False))
    else:
        print(*format_history(history, found[0]), sep="\n")
