"""Devices, processes, seeds, files, signals, checkpoints: what every part builds on."""
