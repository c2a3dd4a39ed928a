"""Write videos: colorized frames beside the copied audio and subtitles."""

import os
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from torch import Tensor

from colorize.video.reader import METADATA_ERRORS, VideoInfo

_H264 = {"crf": "16", "preset": "medium"}
_VP9 = {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"}


class Encoding(NamedTuple):
    """Container format, codec and options of the codec, as FFmpeg names them."""

    container: str
    codec: Literal["libx264", "libvpx-vp9"]
    options: Mapping[str, str]


ENCODINGS = {
    ".mp4": Encoding("mp4", "libx264", _H264),
    ".m4v": Encoding("mp4", "libx264", _H264),
    ".mov": Encoding("mov", "libx264", _H264),
    ".mkv": Encoding("matroska", "libx264", _H264),
    ".webm": Encoding("webm", "libvpx-vp9", _VP9),
}
# Metadata of the source that describes its file rather than its content.
_FILE_METADATA = ("major_brand", "minor_version", "compatible_brands", "encoder")


def create_video(path: Path, encoding: Encoding) -> OutputContainer:
    """Open a new video file for writing."""
    return av.open(os.fspath(path), "w", format=encoding.container, metadata_errors=METADATA_ERRORS)


class VideoWriter:
    """Encode frames and copy audio, subtitles, chapters and metadata of a source video.

    Attributes:
        copied: the streams of the source whose packets `copy` takes.
    """

    def __init__(
        self,
        target: OutputContainer,
        encoding: Encoding,
        source: InputContainer,
        video: av.VideoStream,
        info: VideoInfo,
    ):
        """Lay out the new container.

        Args:
            target: the new file.
            encoding: how frames are encoded.
            source: the file that audio, subtitles and metadata come from.
            video: its main video stream.
            info: upright size and orientation of that stream.

        Raises:
            ValueError: if the container cannot hold the audio.
        """
        self.target = target
        self._lock = threading.Lock()  # packets come from two threads
        self.video = target.add_stream(
            encoding.codec, rate=video.average_rate or 25, options=dict(encoding.options)
        )
        self._set_up_video(video, info)
        context = self.video.codec_context
        self._frame_times = _FrameTimes(max(1, round(1 / (context.framerate * context.time_base))))
        others: tuple[Stream, ...] = (*source.streams.audio, *source.streams.subtitles)
        self.copied = [stream for stream in others if self._can_hold(stream)]
        self._copies = {
            stream.index: target.add_stream_from_template(stream) for stream in self.copied
        }
        self._packet_times = {index: _PacketTimes() for index in self._copies}
        self._copy_metadata(source, video)

    def _set_up_video(self, video: av.VideoStream, info: VideoInfo) -> None:
        self.video.width, self.video.height = info.width, info.height
        is_even = info.width % 2 == 0 and info.height % 2 == 0
        self.video.pix_fmt = "yuv420p" if is_even else "yuv444p"
        context = self.video.codec_context
        assert video.time_base is not None, "FFmpeg gives every stream of a file a time base"
        context.time_base = video.time_base  # keeps a variable frame rate
        context.flags |= Flags.frame_duration
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        aspect = video.sample_aspect_ratio or Fraction(1)
        context.sample_aspect_ratio = 1 / aspect if info.orientation.is_transposed else aspect

    def _copy_metadata(self, source: InputContainer, video: av.VideoStream) -> None:
        kept = {key: text for key, text in source.metadata.items() if key not in _FILE_METADATA}
        self.target.metadata.update(kept)
        for stream in (video, *self.copied):  # language and title
            self._copies.get(stream.index, self.video).metadata.update(stream.metadata)
        self.target.set_chapters(source.chapters())

    def _can_hold(self, stream: Stream) -> bool:
        name = "audio" if stream.type == "audio" else "subtitles"
        if stream.codec_context is None:
            warnings.warn(f"{name} in an unknown format cannot be copied", stacklevel=2)
            return False
        codec, container = stream.codec_context.name, self.target.format.name
        if codec in self.target.supported_codecs:
            return True
        message = f"{name} ({codec}) cannot be stored in {container}; use .mkv to keep it"
        if stream.type == "audio":
            raise ValueError(message)
        warnings.warn(message, stacklevel=2)
        return False

    def write_provenance(self, text: str) -> None:
        """Append how the video was made to its comment."""
        metadata = self.target.metadata
        comments = [metadata[key] for key in ("comment", "COMMENT") if key in metadata]
        metadata["comment"] = "; ".join([*comments[:1], f"colorize: {text}"])

    def copy(self, packet: av.Packet) -> None:
        """Copy a packet of a stream in `copied`."""
        if packet.dts is None:  # the last packet of each stream is empty
            return
        index = packet.stream.index
        self._packet_times[index].repair(packet)
        packet.stream = self._copies[index]
        with self._lock:
            self.target.mux(packet)

    def write(self, rgb: Tensor, frame: av.VideoFrame) -> None:
        """Encode uint8 (3, H, W) at the time of a source frame."""
        pixels = rgb.permute(1, 2, 0).contiguous().numpy()
        new = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format=self.video.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        new.pts = self._frame_times.next(frame.pts)
        new.time_base, new.duration = frame.time_base, frame.duration
        packets = self.video.encode(new)
        with self._lock:
            self.target.mux(packets)

    def finish(self) -> None:
        """Flush the encoder."""
        self.target.mux(self.video.encode())


@dataclass
class _FrameTimes:
    """Strictly increasing times of frames; AVI and bare streams may have none.

    Attributes:
        step: ticks from one frame to the next where the source does not tell.
        last: time of the last frame in ticks.
    """

    step: int
    last: int | None = None

    def next(self, pts: int | None) -> int:
        if pts is None or (self.last is not None and pts <= self.last):
            pts = 0 if self.last is None else self.last + self.step
        self.last = pts
        return pts


@dataclass
class _PacketTimes:
    """Strictly increasing times of a copied stream.

    Where times restart, as in concatenated files, packets follow the previous one.
    """

    last: int | None = None
    shift: int = 0

    def repair(self, packet: av.Packet) -> None:
        dts = packet.dts
        assert dts is not None
        if self.last is not None and dts + self.shift <= self.last:
            self.shift = self.last + max(1, packet.duration or 0) - dts
        self.last = packet.dts = dts + self.shift
        packet.pts = None if packet.pts is None else packet.pts + self.shift
