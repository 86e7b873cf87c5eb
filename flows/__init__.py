"""Prefect flows: when and where the stages of dvc.yaml run. No stage or path is defined here."""

import os
from collections.abc import Mapping

# Set before Prefect is imported: no telemetry, and a long timeout for slow machines.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}.items():
    os.environ.setdefault(_name, _value)


def without_proxy(environ: Mapping[str, str], *hosts: str) -> dict[str, str]:
    """Return no_proxy variables that add this machine and `hosts` to their current values."""
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name.strip() for name in excluded.split(",") if name.strip()]
    names += [
        name
        for name in dict.fromkeys(("127.0.0.1", "localhost", "::1", *hosts))
        if name not in names
    ]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), excluded if "*" in names else ",".join(names))


os.environ.update(without_proxy(os.environ))
