"""sRGB and CIELAB: conversion both ways, the gamut, color bins. The one place that knows LAB."""

from colorize.color.curves import AB_SCALE, L_SCALE, to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab, rgb_to_lightness

__all__ = ["AB_SCALE", "L_SCALE", "lab_to_rgb", "rgb_to_lab", "rgb_to_lightness", "to_uint8"]
