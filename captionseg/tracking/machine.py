"""Samples the machine's load while a stage runs, under MLflow's names for system metrics.

The writer samples between calls of the stage, so there is no thread and no work in the stage's
process.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psutil

EVERY = 5.0  # seconds between samples


class Machine:
    """Load of processor, memory, disk, network and NVIDIA GPUs (if pynvml is installed).

    Args:
        disk: any path on the disk to measure.
        interval: seconds between samples.
    """

    def __init__(self, disk: Path, interval: float = EVERY) -> None:
        self.disk, self.interval, self.step = str(disk), interval, 0
        self._gpus: Any = None
        # measures the share since the previous call, so the first value is meaningless
        psutil.cpu_percent()
        self._network = psutil.net_io_counters()
        self._last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time for a sample."""
        return time.monotonic() - self._last >= self.interval

    def sample(self) -> dict[str, float]:
        """Return load since the last sample, current memory and disk use, and traffic since the
        start, in percent and megabytes.
        """
        self._last, self.step = time.monotonic(), self.step + 1
        memory, disk, network = (
            psutil.virtual_memory(),
            psutil.disk_usage(self.disk),
            psutil.net_io_counters(),
        )
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
        }
        if network and self._network:  # None without a network
            values["network_receive_megabytes"] = (
                network.bytes_recv - self._network.bytes_recv
            ) / 1e6
            values["network_transmit_megabytes"] = (
                network.bytes_sent - self._network.bytes_sent
            ) / 1e6
        return {
            f"system/{name}": round(value, 1) for name, value in {**values, **self.gpus()}.items()
        }

    def gpus(self) -> dict[str, float]:
        """Return the values of MLflow's GPU monitor; empty without GPUs."""
        with contextlib.suppress(Exception):  # no pynvml, no driver, a lost GPU
            if self._gpus is None:
                from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

                self._gpus = False
                self._gpus = GPUMonitor()
            if self._gpus:
                self._gpus.clear_metrics()
                self._gpus.collect_metrics()
                return self._gpus.aggregate_metrics()
        return {}
