"""Write videos: colorized frames beside the copied audio and subtitles."""

import functools
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from torch import Tensor

from colorize.video.audio import AudioEncoder, can_hold, replacement
from colorize.video.reader import METADATA_ERRORS, FieldOrder, VideoInfo

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
        *,
        copies_audio: bool = True,
    ):
        """Lay out the new container.

        Args:
            target: the new file.
            encoding: how frames are encoded.
            source: the file that audio, subtitles and metadata come from.
            video: its main video stream.
            info: upright size and orientation of that stream.
            copies_audio: whether audio and subtitles are taken over.
        """
        self.target = target
        self._field_order = self._supported_order(encoding, info)
        self._options = dict(encoding.options)
        if self._field_order is not None:
            self._options["x264-params"] = f"{self._field_order}=1"
        self._lock = threading.Lock()  # packets come from two threads
        # The stream's own encoder only makes the header: each segment has a new one.
        self.video = target.add_stream(
            encoding.codec, rate=video.average_rate or 25, options=dict(self._options)
        )
        self._set_up(self.video.codec_context, video, info)
        self._new_encoder = functools.partial(self._make_encoder, encoding.codec, video, info)
        self._encoder = self._new_encoder()
        self._segment: list[av.Packet] = []
        self._last_dts: int | None = None
        context = self._encoder
        self._frame_times = _FrameTimes(max(1, round(1 / (context.framerate * context.time_base))))
        self.copied: list[Stream] = []
        self._copies: dict[int, Stream] = {}
        self._audio_encoders: dict[int, AudioEncoder] = {}
        for stream in (*source.streams.audio, *source.streams.subtitles) if copies_audio else ():
            self._add(stream)
        self._packet_times = {index: _PacketTimes() for index in self._copies}
        self._copy_metadata(source, video)

    @staticmethod
    def _supported_order(encoding: Encoding, info: VideoInfo) -> FieldOrder | None:
        """Return the field order to be flagged; warn where the codec or the size forbids it."""
        fits = info.width % 2 == 0 and info.height % 4 == 0 and not info.orientation.is_transposed
        if info.field_order is None or (encoding.codec == "libx264" and fits):
            return info.field_order
        warnings.warn(
            "the source is interlaced, which the output cannot be flagged as; use --deinterlace",
            stacklevel=4,
        )
        return None

    @staticmethod
    def _set_up(context: av.VideoCodecContext, video: av.VideoStream, info: VideoInfo) -> None:
        context.width, context.height = info.width, info.height
        is_even = info.width % 2 == 0 and info.height % 2 == 0
        context.pix_fmt = "yuv420p" if is_even else "yuv444p"
        assert video.time_base is not None, "FFmpeg gives every stream of a file a time base"
        context.time_base = video.time_base  # keeps a variable frame rate
        context.flags |= Flags.frame_duration
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        aspect = video.sample_aspect_ratio or Fraction(1)
        context.sample_aspect_ratio = 1 / aspect if info.orientation.is_transposed else aspect

    def _make_encoder(
        self, codec: str, video: av.VideoStream, info: VideoInfo
    ) -> av.VideoCodecContext:
        encoder = av.CodecContext.create(codec, "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.options = dict(self._options)
        encoder.framerate = self.video.codec_context.framerate
        encoder.flags = self.video.codec_context.flags
        self._set_up(encoder, video, info)
        return encoder

    def _copy_metadata(self, source: InputContainer, video: av.VideoStream) -> None:
        kept = {key: text for key, text in source.metadata.items() if key not in _FILE_METADATA}
        self.target.metadata.update(kept)
        for stream in (video, *self.copied):  # language and title
            self._copies.get(stream.index, self.video).metadata.update(stream.metadata)
        self.target.set_chapters(source.chapters())

    def _add(self, stream: Stream) -> None:
        """Add a stream of audio or subtitles: as it is, encoded anew, or not, with a warning."""
        name = "audio" if stream.type == "audio" else "subtitles"
        if stream.codec_context is None:
            warnings.warn(f"{name} in an unknown format cannot be copied", stacklevel=3)
            return
        codec, container = stream.codec_context.name, self.target.format.name
        if can_hold(container, stream):
            self._copies[stream.index] = self.target.add_stream_from_template(stream)
        elif isinstance(stream, av.AudioStream):
            encoder = AudioEncoder(self.target, stream, replacement(container, codec))
            self._audio_encoders[stream.index] = encoder
            self._copies[stream.index] = encoder.stream
            new = encoder.stream.codec_context.name
            warnings.warn(
                f"audio ({codec}) cannot be stored in {container}; it is encoded as {new}",
                stacklevel=3,
            )
        else:
            message = f"{name} ({codec}) cannot be stored in {container} and are left out"
            warnings.warn(message, stacklevel=3)
            return
        self.copied.append(stream)

    def write_provenance(self, text: str) -> None:
        """Append how the video was made to its comment."""
        metadata = self.target.metadata
        comments = [metadata[key] for key in ("comment", "COMMENT") if key in metadata]
        metadata["comment"] = "; ".join([*comments[:1], f"colorize: {text}"])

    def copy(self, packet: av.Packet) -> None:
        """Take a packet of a stream in `copied`."""
        index = packet.stream.index
        if index in self._audio_encoders:
            self._mux(self._audio_encoders[index].encode(packet))
            return
        if packet.dts is None:  # the last packet of each stream is empty
            return
        self._packet_times[index].repair(packet)
        packet.stream = self._copies[index]
        self._mux(packet)

    def write(self, rgb: Tensor, frame: av.VideoFrame) -> None:
        """Encode uint8 (3, H, W) at the time of a source frame."""
        if self._field_order is None:
            new = self._to_yuv(rgb)
        else:  # each field by itself: they show different times
            top, bottom = (self._to_yuv(rgb[:, row::2]).to_ndarray() for row in (0, 1))
            new = av.VideoFrame.from_ndarray(_interleave(top, bottom), "yuv420p")
        new.pts = self._frame_times.next(frame.pts)
        new.time_base, new.duration = frame.time_base, frame.duration
        self._take(self._encoder.encode(new))

    def end_segment(self) -> list[av.Packet]:
        """End the frames that belong together, and return their packets."""
        self._take(self._encoder.encode(None))
        packets, self._segment = self._segment, []
        self._encoder = self._new_encoder()
        return packets

    def add_segment(self, packets: Sequence[av.Packet]) -> None:
        """Write the packets of an earlier segment."""
        for packet in packets:
            self._mux_video(packet)

    @property
    def last_time(self) -> int | None:
        """Time of the last frame in ticks."""
        return self._frame_times.last

    @last_time.setter
    def last_time(self, ticks: int | None) -> None:
        self._frame_times.last = ticks

    def _take(self, packets: Sequence[av.Packet]) -> None:
        """Keep packets for the segment, and write them."""
        for packet in packets:
            self._segment.append(_copy_of(packet))
            self._mux_video(packet)

    def _mux_video(self, packet: av.Packet) -> None:
        # An encoder begins before its first frame, maybe before the end of the last segment.
        if packet.dts is not None and self._last_dts is not None:
            packet.dts = max(packet.dts, self._last_dts + 1)
        self._last_dts = packet.dts
        packet.stream = self.video
        self._mux(packet)

    def _to_yuv(self, rgb: Tensor) -> av.VideoFrame:
        pixels = rgb.permute(1, 2, 0).contiguous().numpy()
        return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format=self._encoder.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )

    def finish(self) -> None:
        """Flush the encoders."""
        self._take(self._encoder.encode(None))
        for encoder in self._audio_encoders.values():
            self._mux(encoder.finish())

    def _mux(self, packets: av.Packet | Sequence[av.Packet]) -> None:
        with self._lock:
            self.target.mux(packets)


def _copy_of(packet: av.Packet) -> av.Packet:
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe, copy.time_base = packet.is_keyframe, packet.time_base
    return copy


def _interleave(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Interleave the rows of two fields in YUV 4:2:0, uint8 (3/2 h, w), each plane by itself."""
    height, width = top.shape[0] * 2 // 3, top.shape[1]
    planes, start = [], 0
    for rows, columns in ((height, width), *[(height // 2, width // 2)] * 2):
        stop = start + rows * columns
        fields = (field.reshape(-1)[start:stop].reshape(rows, columns) for field in (top, bottom))
        planes.append(np.stack(tuple(fields), 1).reshape(-1))
        start = stop
    return np.concatenate(planes).reshape(2 * top.shape[0], width)


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
