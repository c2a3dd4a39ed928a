"""Colorize videos, with colors that stay steady from frame to frame."""
