"""Colorize videos frame by frame, with temporally smoothed colors.

Only `colorize.video.temporal_smoothing` works without the package av (the extra `video`), so
`colorize_video` is imported from `colorize.video.colorize_video`.
"""

from colorize.video.temporal_smoothing import TemporalSmoother

__all__ = ["TemporalSmoother"]
