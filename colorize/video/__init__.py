"""Colorize videos frame by frame, with temporally smoothed colors.

Videos need the extra `video`, so `colorize_video` is imported from `colorize.video.colorize_video`.
"""

from colorize.video.temporal_smoothing import TemporalSmoother

__all__ = ["TemporalSmoother"]
