"""`captionseg demo`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, add_device, make_command

PORT = 8080


@make_command("demo", "a page to try models, browse curated data and search segments")
@click.option(
    "--model",
    "sources",
    multiple=True,
    metavar="FOLDER",
    help="folder of a trained recipe, or an address of MLflow; may be given several times "
    "(default: all of --models, the best first, and the model that came with captionseg)",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="of this machine's loopback address; 0 takes any that is free",
)
@click.option("--data", type=PATH, default=Path("data"), show_default=True, help="of a run")
@click.option("--models", type=PATH, default=Path("models"), show_default=True, help="of a run")
@add_device
def command(sources: tuple[str, ...], *, port: int, data: Path, models: Path, device: str) -> None:
    """Serve a page on this machine, and on it alone, until Ctrl-C.

    Drop a picture there, type words and see masks, by one model or by two. With the data of a
    finished run, its pairs can be browsed and its segments searched by words.
    """
    from captionseg.demo.backend import Backend
    from captionseg.demo.server import serve
    from captionseg.lineage.history import Places

    backend = Backend(sources, Places(data, models), device)
    try:
        serve(backend, port, tell=lambda address: print(f"{address}  (Ctrl-C ends it)", flush=True))
    finally:
        backend.close()
