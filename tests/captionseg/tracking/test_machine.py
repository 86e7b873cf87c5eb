"""Samples of the machine have MLflow's names, and come in time."""

import sys
from types import SimpleNamespace

import psutil
import pytest

from captionseg.tracking import machine

NAMES = {
    "cpu_utilization_percentage",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
    "disk_usage_percentage",
    "disk_usage_megabytes",
    "disk_available_megabytes",
    "network_receive_megabytes",
    "network_transmit_megabytes",
}


def test_a_sample_has_the_names_that_mlflow_draws(tmp_path):
    from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, network_monitor

    theirs = set()
    for monitor in (
        cpu_monitor.CPUMonitor(),
        disk_monitor.DiskMonitor(),
        network_monitor.NetworkMonitor(),
    ):
        monitor.collect_metrics()
        theirs |= set(monitor.aggregate_metrics())
    found = machine.Machine(tmp_path).sample()
    assert {f"system/{name}" for name in theirs | NAMES} <= set(found)
    assert all(value >= 0 for value in found.values())


def test_traffic_is_counted_from_the_start_and_a_machine_without_network_has_none(
    tmp_path, monkeypatch
):
    counts = iter(
        [
            SimpleNamespace(bytes_recv=5e6, bytes_sent=1e6),
            SimpleNamespace(bytes_recv=8e6, bytes_sent=2e6),
        ]
    )
    monkeypatch.setattr(psutil, "net_io_counters", lambda: next(counts, None))
    looked = machine.Machine(tmp_path)
    found = looked.sample()
    assert (
        found["system/network_receive_megabytes"],
        found["system/network_transmit_megabytes"],
    ) == (3.0, 1.0)
    assert "system/network_receive_megabytes" not in looked.sample()
    assert looked.step == 2


@pytest.mark.parametrize(("every", "due"), [(0.0, True), (60.0, False)])
def test_a_sample_is_due_when_its_time_has_come(tmp_path, every, due):
    assert machine.Machine(tmp_path, every).due() is due


def test_gpus_are_those_of_nvidia_where_their_library_is(tmp_path, monkeypatch):
    from mlflow.system_metrics.metrics import gpu_monitor

    fake = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetMemoryInfo=lambda h: SimpleNamespace(used=20e6, total=80e6),
        nvmlDeviceGetUtilizationRates=lambda h: SimpleNamespace(gpu=70),
        nvmlDeviceGetPowerUsage=lambda h: 300_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda h: 600_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(gpu_monitor, "pynvml", fake, raising=False)
    looked = machine.Machine(tmp_path)
    for _ in range(2):
        found = looked.sample()
        assert found["system/gpu_0_memory_usage_megabytes"] == 20.0
        assert found["system/gpu_0_utilization_percentage"] == 70.0
        assert found["system/gpu_0_power_usage_percentage"] == 50.0


def test_a_machine_without_gpus_has_none(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    assert not any("gpu" in name for name in machine.Machine(tmp_path).sample())
