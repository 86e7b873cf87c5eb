"""When and where: Prefect runs the stages that dvc.yaml names. Flows know no stage and no path of their own."""

import os

# Before anything of Prefect is imported: nothing is reported to anybody, and a slow machine may take its time.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}.items():
    os.environ.setdefault(_name, _value)
