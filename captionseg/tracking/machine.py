"""What the machine does while a stage runs, under the names that MLflow's pages show as system
metrics.

Sampled by the writer between two lines of the stage: no thread, nothing in the stage's own process.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psutil

EVERY = 5.0  # seconds between samples


class Machine:
    """Processor, memory, disk, network and NVIDIA's GPUs (if pynvml is installed) of the whole
    machine.

    Args:
        disk: any path on the disk that is looked at.
        interval: seconds between samples.
    """

    def __init__(self, disk: Path, interval: float = EVERY) -> None:
        self.disk, self.interval, self.step = str(disk), interval, 0
        self._gpus: Any = None
        # the share since the call before: of this one, nobody knows since when
        psutil.cpu_percent()
        self._network = psutil.net_io_counters()
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for a sample."""
        return time.monotonic() - self._last >= self.interval

    def sample(self) -> dict[str, float]:
        """Load since the last sample, memory and disk of now, traffic since the start; in percent
        and megabytes.
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
        if network and self._network:  # None where there is no network at all
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
        """What MLflow's own monitor says of the GPUs; nothing where there are none."""
        with contextlib.suppress(Exception):  # no pynvml, no driver, a GPU that was lost
            if self._gpus is None:
                from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

                self._gpus = False
                self._gpus = GPUMonitor()
            if self._gpus:
                self._gpus.clear_metrics()
                self._gpus.collect_metrics()
                return self._gpus.aggregate_metrics()
        return {}
