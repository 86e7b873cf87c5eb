"""Where a computation runs: devices and precision (device.py), ranks, processes and machines."""
