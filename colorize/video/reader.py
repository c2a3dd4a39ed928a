"""Read videos: upright frames, their timing, and what is damaged."""

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from colorize.io.grayscale import COLORED_TONES, classify_photo
from colorize.io.image import resize

try:
    import av
    from av.container import InputContainer
    from av.sidedata.sidedata import Type as SideData
    from av.stream import Disposition, Stream
except ImportError as error:
    raise ImportError("videos need the package av: pip install 'colorize-photos[video]'") from error

METADATA_ERRORS = "surrogateescape"  # titles in AVI may be any bytes, which are written as read
_PROBED_FRAMES = 16  # key frames that decide whether a video is in color
_MISSING_FRAMES = 3  # frames that may be missing at the end before a video counts as cut off
_NOT_VIDEOS = ("tty", "image2")  # formats in which FFmpeg opens text files and pictures


FieldOrder = Literal["tff", "bff"]
# By FFmpeg's number; in the last two the order of coding is another one.
_FIELD_ORDERS: dict[int, FieldOrder] = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}


@dataclass(frozen=True)
class Orientation:
    """How to display stored frames upright.

    Attributes:
        is_transposed: whether rows and columns are exchanged.
        flipped_axes: axes of (3, H, W) that are mirrored after that.
    """

    is_transposed: bool
    flipped_axes: tuple[int, ...]

    @classmethod
    def from_frame(cls, frame: av.VideoFrame) -> "Orientation":
        """Read a frame's display matrix.

        It is (a, b, u, c, d, v, x, y, w); the pixel at (x, y) is displayed at (ax + cy, bx + dy).
        """
        # The stubs of av declare motion vectors as the only side data.
        data = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
        a, b, _, c, d, *_ = (1, 0, 0, 0, 1) if data is None else np.frombuffer(data, np.int32)
        is_transposed = abs(int(b)) > abs(int(a))
        right, down = (c, b) if is_transposed else (a, d)
        flipped_axes = tuple(axis for axis, sign in ((1, down), (2, right)) if sign < 0)
        return cls(is_transposed, flipped_axes)

    def apply(self, frame: av.VideoFrame) -> Tensor:
        """Return a frame upright, uint8 (3, H, W)."""
        rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
        return (rgb.mT if self.is_transposed else rgb).flip(self.flipped_axes).contiguous()


@dataclass(frozen=True)
class VideoInfo:
    """What a video is like.

    Attributes:
        orientation: how to display its frames upright.
        height, width: upright size in pixels.
        is_colored: whether it is in color.
        field_order: of an interlaced video "tff" or "bff" (top or bottom field first); else None.
    """

    orientation: Orientation
    height: int
    width: int
    is_colored: bool
    field_order: FieldOrder | None = None

    def upright(self, frame: av.VideoFrame) -> Tensor:
        """Return a frame upright, (3, height, width); frame sizes may change within a video."""
        rgb = self.orientation.apply(frame)
        size = self.height, self.width
        return rgb if rgb.shape[1:] == size else resize(rgb, *size)


def open_video(path: Path) -> InputContainer:
    """Open a video of any format that FFmpeg reads.

    Raises:
        ValueError: if the file is missing or is not a video.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a video in it")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        container = av.open(os.fspath(path), metadata_errors=METADATA_ERRORS)
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: not a readable video ({error.strerror})") from error
    if container.format.name in _NOT_VIDEOS or container.format.name.endswith("_pipe"):
        container.close()
        raise ValueError(f"{path} is not a video; use `colorize photo` for pictures")
    return container


def main_stream(container: InputContainer) -> av.VideoStream:
    """Return the main video stream.

    Raises:
        ValueError: if there is none; an embedded cover picture does not count.
    """
    video = container.streams.best("video")
    if not isinstance(video, av.VideoStream) or video.disposition & Disposition.attached_pic:
        raise ValueError(f"{container.name}: has no video stream")
    return video


def probe(path: Path) -> VideoInfo:
    """Inspect some key frames, or the first frames where an edit list hides the key frames.

    Raises:
        ValueError: if no frame can be read.
    """
    for skipped in ("NONKEY", "DEFAULT"):
        with open_video(path) as container:
            video = main_stream(container)
            video.codec_context.skip_frame = skipped
            packets = _readable(container.demux(video), [])
            decoded = (frame for packet in packets for frame in _decode(video, packet) or ())
            info = _summarize(itertools.islice(decoded, _PROBED_FRAMES), video)
        if info is not None:
            return info
    raise ValueError(f"{path}: no frame can be read")


def _summarize(frames: Iterable[av.VideoFrame], video: av.VideoStream) -> VideoInfo | None:
    """Summarize the first frames of a video; None if none of them is intact."""
    tones = []
    has_alpha = is_interlaced = False
    for frame in frames:
        orientation = Orientation.from_frame(frame)
        rgb = orientation.apply(frame)
        has_alpha = any(component.is_alpha for component in frame.format.components)
        is_interlaced |= frame.interlaced_frame
        if not frame.is_corrupt:
            tones.append(classify_photo(rgb))
    if not tones:
        return None
    if has_alpha:
        warnings.warn("transparency cannot be kept", stacklevel=3)
    height, width = rgb.shape[1:]
    colored = sum(tone in COLORED_TONES for tone in tones)
    order = _FIELD_ORDERS.get(int(video.codec_context.field_order), "tff")
    return VideoInfo(
        orientation,
        height,
        width,
        is_colored=colored > len(tones) / 2,
        field_order=order if is_interlaced else None,
    )


class FrameReader:
    """Iterate over the frames of a video; packets of other streams are handed on as they come.

    Attributes:
        count: number of frames, if the container tells it.
        damage: description of unreadable parts, set after the last frame; "" if there are none.
    """

    def __init__(
        self,
        container: InputContainer,
        video: av.VideoStream,
        copied: Sequence[Stream],
        copy: Callable[[av.Packet], None],
    ):
        """Prepare to read.

        Args:
            container: an open video.
            video: the stream whose frames are read.
            copied: the other streams to read.
            copy: receives their packets, in the order of the file.
        """
        self.container, self.video = container, video
        self._copied, self._copy = copied, copy
        self.video.thread_type = "AUTO"
        self.damage = ""
        self._length = _length(container, video)
        rate = video.average_rate
        self.count = video.frames or (round(self._length * rate) if self._length and rate else None)

    def __iter__(self) -> Iterator[av.VideoFrame]:
        errors: list[Exception] = []
        damaged = visible = count = 0  # an edit list may hide frames that others depend on
        begin: float | None = None
        end = 0.0
        for packet in _readable(self.container.demux(self.video, *self._copied), errors):
            if packet.stream.index != self.video.index:
                try:
                    self._copy(packet)
                except av.error.InvalidDataError:
                    damaged += 1
                continue
            visible += packet.size > 0 and not packet.is_discard
            frames = _decode(self.video, packet)
            damaged += frames is None or packet.is_corrupt
            for frame in frames or ():
                damaged += frame.is_corrupt
                count += 1
                if frame.time is not None:
                    begin = frame.time if begin is None else begin
                    end = frame.time + _seconds(frame.duration, frame.time_base)
                yield frame
        seconds = None if begin is None else end - begin
        self.damage = self._describe_damage(seconds, count, visible, damaged + len(errors))

    def _describe_damage(
        self, seconds: float | None, count: int, visible: int, damaged: int
    ) -> str:
        tolerance = _MISSING_FRAMES / float(self.video.average_rate or 25)
        if seconds is not None and self._length is not None and seconds < self._length - tolerance:
            return f"it ends after {seconds:.1f} of {self._length:.1f} seconds"
        if count < visible:
            return f"{visible - count} of {visible} frames are missing"
        return f"{damaged} of its packets are damaged" if damaged else ""


def deinterlaced(frames: Iterable[av.VideoFrame], video: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Deinterlace frames, one for one, by FFmpeg's filter bwdif; progressive ones stay.

    Args:
        frames: of the stream.
        video: the stream.
    """
    graph = av.filter.Graph()
    source = graph.add_buffer(template=video)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    for frame in itertools.chain(frames, [None]):
        graph.vpush(frame)
        while True:
            try:
                yield graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break


def _readable(packets: Iterable[av.Packet], errors: list[Exception]) -> Iterator[av.Packet]:
    """Yield packets as long as they can be read; a truncated file may end with an error."""
    try:
        yield from packets
    except av.error.FFmpegError as error:
        errors.append(error)


def _decode(video: av.VideoStream, packet: av.Packet) -> list[av.VideoFrame] | None:
    """Return the frames that a packet completes; None if the packet is damaged."""
    try:
        return video.decode(packet)
    except av.error.FFmpegError:
        return None


def _length(container: InputContainer, video: av.VideoStream) -> float | None:
    """Return the length of the picture in seconds, if the container tells it."""
    if video.duration is not None:
        return _seconds(video.duration, video.time_base)
    if "DURATION" in video.metadata:  # of Matroska, such as 00:01:02.500000000; a time of the end
        hours, minutes, seconds = video.metadata["DURATION"].split(":")
        end = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        return end - _seconds(video.start_time, video.time_base)
    # The length of a file with audio may be that of the audio.
    if container.duration is None or container.streams.audio:
        return None
    return container.duration / av.time_base


def _seconds(ticks: int | None, time_base: Fraction | None) -> float:
    return float((ticks or 0) * (time_base or 0))
