"""Devices, processes, seeds, files, signals, checkpoints: the base of every other package."""
