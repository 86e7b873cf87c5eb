"""Updates the file addresses in MLflow's database after its checkout was moved or copied.

MLflow stores absolute addresses. After `mv` they are broken; in a copy they point to the original,
and a run of the copy would write there.

    python -m captionseg.tracking.moved_store [ROOT]
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
    """Replace the checkout's old location by the current one in all file addresses.

    Args:
        database: mlflow.db of a checkout, not in use by another writer.

    Returns:
        the old location; empty if it has not changed or is unknown.
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
            connection.execute(  # table and column names are constants, values are parameters
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
    return before


def main(root: str = ".") -> int:
    """Update the database of a server that is about to start; always 0."""
    database = reproduction.find_home(Path(root)) / reproduction.DATABASE
    if database.exists() and (before := follow(database)):
        sys.stderr.write(
            f"mlflow.db: updated the paths of files, because the checkout moved from {before}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
