"""A program for workspace.py: lists reports that do not match the current params, code and data.

    python flows/stale.py

A run of some stages leaves the committed reports of the others, which an experiment would show as
its own. Prints as JSON the outputs in git of each stage that DVC would run again, or that depends
on one.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> int:
    """Entry point: 0, or 1 after one line on stderr."""
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo() as repo:
            graph = repo.index.graph  # edges lead from a stage to its dependencies
            changed = [
                s for s in repo.index.stages if isinstance(s, PipelineStage) and is_changed(s)
            ]
            stale = {
                other for stage in changed for other in (stage, *networkx.ancestors(graph, stage))
            }
            paths = sorted(
                out.def_path for stage in stale for out in stage.outs if not out.use_cache
            )
    except DvcException as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    print(json.dumps(paths))
    return 0


def is_changed(stage: Any) -> bool:
    """Return whether a stage ran with other params or files than the current ones.

    Missing files (data that was not fetched) do not count.
    """
    changes = [
        how for item in (*stage.deps, *stage.outs) for how in item.workspace_status().values()
    ]
    return stage.changed_stage() or any(how != "deleted" for how in changes)


if __name__ == "__main__":
    sys.exit(main())
