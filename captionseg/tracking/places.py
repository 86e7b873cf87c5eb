"""MLflow's database, moved, renamed or copied with its checkout, finds its files beside it again.

MLflow writes absolute addresses of files into it. After `mv` they lead nowhere; in a copy they
lead into the original, which a run of the copy would then write to.

    python -m captionseg.tracking.places [ROOT]
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from pathlib import Path

from captionseg.tracking import reproduction

ARTIFACTS = "mlruns"
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
EXPERIMENT = re.compile(rf"(file://.*/{ARTIFACTS})(/\d+)?")


def follow(database: Path) -> str:
    """Let addresses of files below the place where the checkout was lead to where it is now.

    Args:
        database: mlflow.db of a checkout, not in use by another writer.

    Returns:
        the place where it was; empty if it is still there, or names none.
    """
    now = (database.parent / ARTIFACTS).as_uri()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if not {table for table, _ in COLUMNS} <= tables:
            return ""
        row = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'captionseg'"
        ).fetchone()
        match = EXPERIMENT.fullmatch(row[0] or "") if row else None
        if not match or (before := match[1]) == now:
            return ""
        for table, column in COLUMNS:
            connection.execute(  # names of our own, values as parameters
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
    return before


def main(root: str = ".") -> int:
    """Do it, for a server that is about to start; 0 also where there is nothing to do."""
    database = reproduction.find_home(Path(root)) / reproduction.DATABASE
    if database.exists() and (before := follow(database)):
        sys.stderr.write(
            f"mlflow.db: this checkout was at {before}; its runs find their files here now\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
