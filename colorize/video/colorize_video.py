"""Colorize a video frame by frame; its timing, audio and subtitles are kept."""

import contextlib
import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor
from tqdm import tqdm

import colorize
from colorize.inference.colorizer import Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.inference.options import DEFAULT_OPTIONS, ColorizeOptions
from colorize.utils.device import torch_threads
from colorize.utils.files import atomic_write
from colorize.utils.threads import InTurn, prefetch
from colorize.video import segments
from colorize.video.comparison import Comparison
from colorize.video.frame_colors import FrameColors
from colorize.video.reader import (
    FrameReader,
    VideoInfo,
    deinterlaced,
    main_stream,
    open_video,
    probe,
)
from colorize.video.segments import Segment, SegmentStore
from colorize.video.temporal_smoothing import TemporalSmoother
from colorize.video.writer import ENCODINGS, VideoWriter, create_video

_BATCH = 8  # frames that are predicted at a time; three times as many are held at full size,
_BATCH_BYTES = 100_000_000  # but no more than this of each batch


@dataclass(frozen=True)
class VideoResult:
    """Result of colorizing a video.

    Attributes:
        frames, shots: number of frames and of shots.
        flicker_unsmoothed, flicker_smoothed: mean color change from frame to frame in CIELAB
            units, of the predictions and of the written video; see `TemporalSmoother.flicker`.
        damage: description of the unreadable parts of the source; "" if there are none.
    """

    frames: int
    shots: int
    flicker_unsmoothed: float
    flicker_smoothed: float
    damage: str = ""


def colorize_video(
    colorizer: Colorizer,
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: ColorizeOptions = DEFAULT_OPTIONS,
    *,
    temporal_smoothing: float = 0.9,
    keyframe_interval: int = 4,
    deinterlace: bool = False,
    compare: bool = False,
    force: bool = False,
) -> VideoResult:
    """Colorize a video and write it upright, with the same size, frame rate and length.

    Audio and subtitles are copied unchanged where the format can hold them; other audio is encoded
    anew, other subtitles are left out, with a warning. The picture is encoded as H.264 (VP9 in
    WebM) with 8 bits. A video with an odd side is stored without chroma subsampling (4:4:4), which
    not every player supports.

    Every 240 frames or so what is done is kept in a hidden folder beside the target: the same call
    goes on after them if it was interrupted. (With `compare` it begins anew.)

    Args:
        colorizer: the model.
        source: a video in any format that FFmpeg reads; of several video streams the main one.
        target: the new file; its suffix, one of `ENCODINGS`, selects the format.
        options: seed, vividness, size, and views of each frame (default: 1).
        temporal_smoothing: how long colors persist, from 0 (every frame by itself) to below 1.
        keyframe_interval: of so many frames the model predicts one; the others take its colors,
            carried along the optical flow. Frames that the flow does not explain are predicted too.
            1 predicts every frame, and so does a smoothing of 0.
        deinterlace: make the frames of an interlaced video progressive, by FFmpeg's filter bwdif;
            else the output is interlaced too, with the same field first.
        compare: also write gray and colorized frames side by side, and a sheet of the first frame
            of each shot, see `Comparison`.
        force: colorize a video that is already in color.

    Raises:
        ValueError: if the source cannot be read, has no video stream or is already in color; if
            the format of the target is unknown; if a value is out of range.
    """
    source, target = Path(source), Path(target)
    _check_target(source, target)
    if options.samples is not None or options.hints:
        raise ValueError("samples and hints apply to photos, not to videos")
    options = replace(options, views=options.views or 1)
    colorizer.validate(options)
    smoother = TemporalSmoother(temporal_smoothing)
    colors = FrameColors(colorizer, options, smoother, keyframe_interval)
    info = probe(source)
    if info.is_colored and not force:
        raise ValueError(f"{source} is already in color; use --force to colorize it anyway")
    if deinterlace:
        info = replace(info, field_order=None)
    encoding = ENCODINGS[target.suffix.lower()]
    with (
        open_video(source) as container,
        atomic_write(target) as tmp,
        create_video(tmp, encoding) as output,
    ):
        video = main_stream(container)
        writer = VideoWriter(output, encoding, container, video, info)
        writer.write_provenance(f"{colorize.__version__}, {colorizer.describe(options)}")
        reader = FrameReader(container, video, writer.copied, writer.copy)
        frames = iter(deinterlaced(reader, video) if deinterlace else reader)
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=reader.count, desc="colorizing", unit="frame"))
            if compare:
                comparison = stack.enter_context(Comparison(target, container, video, info))
                sink = _Sink(writer, comparison, None)
            else:
                settings = (temporal_smoothing, keyframe_interval, deinterlace)
                key = _segment_key(source, info, colorizer.describe(options), *settings)
                sink = _Sink(writer, None, SegmentStore(target, key))
                _take_up(sink, frames, colors, bar)
            _colorize_frames(frames, colors, sink, bar, info)
        writer.finish()
    if sink.segments is not None:
        sink.segments.remove()
    return VideoResult(smoother.frames, smoother.shots, *smoother.flicker, reader.damage)


@dataclass(frozen=True)
class _Sink:
    """Where colorized frames go."""

    writer: VideoWriter
    comparison: Comparison | None
    segments: SegmentStore | None

    def write(
        self, frame: av.VideoFrame, rgb: Tensor, ab: Tensor, guide: Tensor, is_new: bool
    ) -> None:
        """Join colors (2, h, w) and frame (3, H, W), and encode the result."""
        colorized = guided_upsample(rgb, ab, guide)
        self.writer.write(colorized, frame)
        if self.comparison is not None:
            self.comparison.write(rgb, colorized, frame, is_new=is_new)

    def end_segment(self, frames: int, state: dict[str, Any]) -> None:
        """Keep the frames since the last segment, for a call after an interruption."""
        if self.segments is not None:
            packets = self.writer.end_segment()
            state = state | {"last_time": self.writer.last_time}
            self.segments.add(Segment(frames, packets, state))


def _segment_key(source: Path, info: VideoInfo, *settings: object) -> str:
    """Describe all that the encoded frames of a video depend on."""
    status = source.stat()
    facts = (source.resolve(), status.st_size, status.st_mtime_ns, colorize.__version__, info)
    return repr((*map(str, facts), *settings))


def _take_up(sink: _Sink, frames: Iterator[av.VideoFrame], colors: FrameColors, bar: tqdm) -> None:
    """Write what an interrupted call has finished; its frames are decoded, for the audio beside."""
    assert sink.segments is not None
    for segment in sink.segments.load():
        for _ in itertools.islice(frames, segment.frames):
            bar.update()
        sink.writer.add_segment(segment.packets)
        sink.writer.last_time = segment.state["last_time"]
        colors.load_state(segment.state)


def _colorize_frames(
    decoded: Iterable[av.VideoFrame],
    colors: FrameColors,
    sink: _Sink,
    bar: tqdm,
    info: VideoInfo,
) -> None:
    """Decode, predict and encode side by side, in three threads."""
    threads = max(1, torch.get_num_threads() // 2)  # of each of the two that compute
    batch_size = max(1, min(_BATCH, _BATCH_BYTES // (3 * info.height * info.width)))
    photos = ((frame, info.upright(frame)) for frame in decoded)
    shots, count = colors.smoother.shots, 0
    with (
        torch_threads(threads),
        contextlib.closing(prefetch(photos, batch_size)) as frames,
        InTurn(batch_size, functools.partial(torch.set_num_threads, threads)) as thread,
    ):
        while batch := list(itertools.islice(frames, batch_size)):
            predictions = colors.predict([rgb for _, rgb in batch])
            for (frame, rgb), (ab, guide) in zip(batch, predictions, strict=True):
                is_new, shots = colors.smoother.shots > shots, colors.smoother.shots
                thread.submit(sink.write, frame, rgb, ab, guide, is_new)
                bar.update()
            count += len(batch)
            if count >= segments.FRAMES:
                thread.submit(sink.end_segment, count, colors.state())
                count = 0


def _check_target(source: Path, target: Path) -> None:
    if target.suffix.lower() not in ENCODINGS:
        raise ValueError(f"{target}: unknown video format; use one of {', '.join(ENCODINGS)}")
    if target.exists() and source.resolve() == target.resolve():
        raise ValueError(f"{source} would overwrite itself; choose another output name")
    if target.is_dir():
        raise ValueError(f"{target} is a folder; name a video in it")
