"""`captionseg sync`."""

from __future__ import annotations

from pathlib import Path

from captionseg.commands.options import make_command


@make_command("sync", "record the results of this checkout in MLflow")
def command() -> None:
    """Record the results of this checkout in MLflow: a run per recipe, the numbers and the
    champion. Does nothing if MLflow has them already. `make repro` and the flow end with it; after
    a plain `dvc repro` it is needed only if no stage ran because everything came from DVC's cache.
    """
    from captionseg.tracking.environment import is_off

    if is_off():
        print("sync: nothing recorded, CAPTIONSEG_TRACKING is off")
        return
    from captionseg.tracking.synchronise import synchronise

    print(f"sync: {synchronise(Path())}")
