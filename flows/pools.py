"""A program for services.py: creates the work pools `cpu` and `gpu` if they do not exist.

A pool's limit is the number of concurrent runs on all machines together; `gpu` has one per GPU. To
change it: `prefect work-pool set-concurrency-limit gpu 4`. Existing pools are not changed.
"""

from __future__ import annotations

import contextlib
import os
import sys

import flows  # noqa: F401  telemetry off, before Prefect is imported
from flows.launching import POOLS, count_gpus


def main() -> int:
    """Entry point: 0."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    limits = {"cpu": max(2, (os.cpu_count() or 2) // 2), "gpu": max(1, count_gpus())}
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        existing = {pool.name for pool in client.read_work_pools()}
        for name in POOLS:
            if name not in existing:
                pool = WorkPoolCreate(
                    name=name,
                    type=ProcessWorker.type,
                    base_job_template=template,
                    concurrency_limit=limits[name],
                )
                with contextlib.suppress(ObjectAlreadyExists):  # another machine was faster
                    client.create_work_pool(pool)
    return 0


if __name__ == "__main__":
    sys.exit(main())
