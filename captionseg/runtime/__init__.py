"""Devices and precision (device.py), ranks, processes and machines that computations run on."""
