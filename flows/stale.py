"""A program for workspace.py: which reports here are of another run than params, code and data say.

    python flows/stale.py

A run of some stages leaves the reports of the others as they were committed; in an experiment they
would pass for its own. Prints as JSON what stages wrote that git holds, of each stage that DVC
would run again or that stands after one.
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
            graph = repo.index.graph  # from a stage to what it needs
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
    """Whether a stage ran with other params or on other files than those that are here.

    Files that are not here at all (data that nobody fetched) say nothing of it.
    """
    changes = [
        how for item in (*stage.deps, *stage.outs) for how in item.workspace_status().values()
    ]
    return stage.changed_stage() or any(how != "deleted" for how in changes)


if __name__ == "__main__":
    sys.exit(main())
