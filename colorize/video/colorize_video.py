"""Films: every frame colored, the colors steady, the sound and the times as they were."""

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import colorize
from colorize.inference.colorizer import ColorizeOptions, Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.grayscale import classify_photo
from colorize.io.image import resize
from colorize.utils.files import atomic_write
from colorize.video.temporal_smoothing import TemporalSmoother

try:
    import av
    from av.codec.context import Flags
    from av.sidedata.sidedata import Type as SideData
    from av.stream import Disposition
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
except ImportError as error:
    raise ImportError("films need the package av: pip install 'colorize-photos[video]'") from error

# The container and the codec for each suffix.
_H264 = ("libx264", {"crf": "16", "preset": "medium"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"})
CONTAINERS = {
    **dict.fromkeys((".mp4", ".m4v"), ("mp4", *_H264)),
    ".mov": ("mov", *_H264),
    ".mkv": ("matroska", *_H264),
    ".webm": ("webm", *_VP9),
}
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")
_AT_ONCE = 8  # frames that wait, in full size, for the network
_LOOKED_AT = 16  # key frames by which it is seen whether a film has color
_MISSING = 3  # frames that the end may lack before a film counts as broken off
_NO_FILMS = ("tty", "image2")  # what FFmpeg makes films of that are none: texts and pictures


@dataclass(frozen=True)
class VideoResult:
    """What became of a film.

    Attributes:
        frames, shots: how many it has.
        flicker_painted, flicker_steady: mean change of color from frame to frame, in CIELAB units,
            of frames painted one by one, and of the film; see `TemporalSmoother.flicker`.
        damage: what of the source could not be read; "" of a whole one.
    """

    frames: int
    shots: int
    flicker_painted: float
    flicker_steady: float
    damage: str = ""


def colorize_video(
    colorizer: Colorizer,
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: ColorizeOptions = ColorizeOptions(),  # noqa: B008, it is frozen
    steadiness: float = 0.9,
    force: bool = False,
) -> VideoResult:
    """Color a film, of the same size, rate and length, upright.

    Sound and subtitles are copied as they are. The film is H.264 (VP9 in WebM) with 8 bits; where a
    side is odd its colors are kept in full size (4:4:4), which not every player shows.

    Args:
        colorizer: paints.
        source: a film of any kind that FFmpeg reads; of several pictures in it the main one.
        target: where it goes; the suffix, one of `KINDS`, tells the kind.
        options: wishes, without samples and hints.
        steadiness: how long colors last, from 0 (each frame by itself) to below 1.
        force: whether a film is colored that is in color already.

    Raises:
        ValueError: if the source cannot be read, has no picture or is in color already; if the
            target is of no known kind or cannot hold the sound; if a value is out of range.
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() not in CONTAINERS:
        raise ValueError(f"{target}: unknown kind of film; use one of {', '.join(CONTAINERS)}")
    if target.exists() and source.resolve() == target.resolve():
        raise ValueError(f"{source} would be replaced by its own colors; choose another name")
    if options.samples is not None or options.hints:
        raise ValueError("samples and hints are for photos, not for films")
    if target.is_dir():
        raise ValueError(f"{target} is a folder; name a film in it")
    colorizer.check(options)
    steady = TemporalSmoother(steadiness)
    look = _look(source)
    if look.is_colored and not force:
        raise ValueError(f"{source} is in color already; --force colors it anew")
    kind, *encoder = CONTAINERS[target.suffix.lower()]
    with (
        _opened(source) as film,
        atomic_write(target) as part,
        av.open(os.fspath(part), "w", format=kind) as out,
    ):
        writer = _Writer(film, out, look, *encoder)
        writer.note(f"{colorize.__version__}, {colorizer.wish(options)}")
        reel = _FrameReader(film, writer)
        frames = iter(reel)
        with tqdm(total=reel.count, desc="coloring", unit="frame") as bar:
            while some := list(itertools.islice(frames, _AT_ONCE)):
                seen = [look.upright(frame) for frame in some]
                found = colorizer.predict(seen, options)
                for frame, rgb, colors in zip(some, seen, found, strict=True):
                    ab = steady(colors.lightness, colors.ab[0])
                    writer.write(guided_upsample(rgb, ab, colors.lightness), frame)
                bar.update(len(some))
        writer.finish()
    return VideoResult(steady.frames, steady.shots, *steady.flicker, reel.damage)


@dataclass(frozen=True)
class _VideoInfo:
    """What a first look at a film shows: what sets it upright, and its upright size.

    Attributes:
        is_turned: whether its lines are to be columns.
        flips: then, the axes of (3, H, W) to be mirrored.
    """

    is_turned: bool
    flips: tuple[int, ...]
    height: int
    width: int
    is_colored: bool

    def upright(self, frame: "av.VideoFrame") -> Tensor:
        """A frame as rgb (3, H, W); a film may change its size on the way."""
        rgb = _upright(frame, self.is_turned, self.flips)
        size = self.height, self.width
        return rgb if rgb.shape[1:] == size else resize(rgb, *size)


def _look(source: Path) -> _VideoInfo:
    """Look at some key frames; at the first frames where a cut has hidden the key frames.

    Raises:
        ValueError: if there are none.
    """
    tones = []
    for skipped in ("NONKEY", "DEFAULT"):
        if tones:
            break
        with _opened(source) as film:
            video = _picture(film, source)
            video.codec_context.skip_frame = skipped
            packets = _readable(film.demux(video), [])
            frames = (frame for packet in packets for frame in _decoded(packet) or ())
            for frame in itertools.islice(frames, _LOOKED_AT):
                place = _place(frame)
                upright = _upright(frame, *place)
                if not frame.is_corrupt:
                    tones.append(classify_photo(upright))
    if tones and any(component.is_alpha for component in frame.format.components):
        warnings.warn("its transparency cannot be kept", stacklevel=2)
    if not tones:
        raise ValueError(f"{source}: no frame of it can be read")
    return _VideoInfo(*place, *upright.shape[1:], tones.count("color") > len(tones) / 2)


def _opened(source: Path) -> "av.container.InputContainer":
    if source.is_dir():
        raise ValueError(f"{source} is a folder; name a film in it")
    if not source.is_file():
        raise ValueError(f"{source}: there is no such file")
    try:
        film = av.open(os.fspath(source))
    except av.error.FFmpegError as error:
        raise ValueError(f"{source}: no film that can be read ({error.strerror})") from error
    if film.format.name in _NO_FILMS or film.format.name.endswith("_pipe"):
        film.close()
        raise ValueError(f"{source} is no film; pictures are for `colorize photo`")
    return film


def _picture(film: "av.container.InputContainer", source: Path) -> "av.VideoStream":
    video = film.streams.best("video")
    if video is None or video.disposition & Disposition.attached_pic:
        raise ValueError(f"{source}: there is no moving picture in it")
    return video


def _place(frame: "av.VideoFrame") -> tuple[bool, tuple[int, ...]]:
    """How a frame is to be set upright, see `_Look`, by its display matrix.

    That is (a, b, u, c, d, v, x, y, w): what is at (x, y) is shown at (ax + cy, bx + dy).
    """
    found = frame.side_data.get(SideData.DISPLAYMATRIX)
    a, b, _, c, d, *_ = (1, 0, 0, 0, 1) if found is None else np.frombuffer(found, np.int32)
    is_turned = abs(int(b)) > abs(int(a))
    right, down = (c, b) if is_turned else (a, d)
    return is_turned, tuple(axis for axis, sign in ((1, down), (2, right)) if sign < 0)


def _upright(frame: "av.VideoFrame", is_turned: bool, flips: tuple[int, ...]) -> Tensor:
    rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
    return (rgb.mT if is_turned else rgb).flip(flips).contiguous()


class _FrameReader:
    """The frames of a film in their order; all else of it goes to the writer on the way.

    Attributes:
        count: of frames, if the film says so.
        damage: what could not be read, once all frames were; "" if all could.
    """

    def __init__(self, film: "av.container.InputContainer", writer: "_Writer"):
        self.film, self.writer = film, writer
        self.video = film.streams.best("video")
        self.video.thread_type = "AUTO"
        self.length = _length(film, self.video)
        self.damage = ""
        rate = self.video.average_rate
        guess = round(self.length * rate) if self.length and rate else None
        self.count = self.video.frames or guess

    def __iter__(self) -> Iterator["av.VideoFrame"]:
        damaged, count, begin, end, errors = 0, 0, None, None, []
        shown = 0  # packets of frames that are to be seen; a cut may hide some by an edit list
        for packet in _readable(self.film.demux(self.video, *self.writer.copied), errors):
            if packet.stream.index != self.video.index:
                try:
                    self.writer.copy(packet)
                except av.error.InvalidDataError:
                    damaged += 1
                continue
            shown += packet.size > 0 and not packet.is_discard
            frames = _decoded(packet)
            damaged += frames is None or packet.is_corrupt
            for frame in frames or ():
                damaged += frame.is_corrupt
                count += 1
                if frame.time is not None:
                    begin = frame.time if begin is None else begin
                    end = frame.time + float((frame.duration or 0) * frame.time_base)
                yield frame
        damaged += len(errors)
        lasted = None if end is None else end - begin
        missing = _MISSING / float(self.video.average_rate or 25)
        if None not in (lasted, self.length) and lasted < self.length - missing:
            self.damage = f"it breaks off after {lasted:.1f} of {self.length:.1f} seconds"
        elif count < shown:
            self.damage = f"{shown - count} of {shown} frames are missing"
        elif damaged:
            self.damage = f"{damaged} of its packets are damaged"


def _readable(packets: Iterable["av.Packet"], errors: list[Exception]) -> Iterator["av.Packet"]:
    """Packets as far as they can be read; a cut file may end with an error, which is noted."""
    try:
        yield from packets
    except av.error.FFmpegError as error:
        errors.append(error)


def _decoded(packet: "av.Packet") -> list["av.VideoFrame"] | None:
    """The frames that a packet completes; None of a damaged one."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return None


def _length(film: "av.container.InputContainer", video: "av.VideoStream") -> float | None:
    """How many seconds the picture lasts, as far as the film says so."""
    if video.duration is not None:
        return float(video.duration * video.time_base)
    if "DURATION" in video.metadata:  # of Matroska, such as 00:01:02.500000000
        hours, minutes, seconds = video.metadata["DURATION"].split(":")
        begin = float((video.start_time or 0) * video.time_base)  # it tells when the picture ends
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - begin
    # Of a film with sound it is the sound that may last longer.
    known = film.duration is not None and not film.streams.audio
    return film.duration / av.time_base if known else None


class _Writer:
    """Writes the colored picture, and copies sound and subtitles.

    Attributes:
        copied: the streams of sound and subtitles.
    """

    def __init__(self, film, out, look: _VideoInfo, codec: str, options: dict[str, str]):
        """Lay out the new film.

        Raises:
            ValueError: if it cannot hold the sound.
        """
        self.out = out
        told = {key: text for key, text in film.metadata.items() if key not in _OF_THE_FILE}
        out.metadata.update(told)
        video = film.streams.best("video")
        self.video = out.add_stream(codec, rate=video.average_rate or 25, options=options)
        self.video.width, self.video.height = look.width, look.height
        is_even = look.width % 2 == 0 and look.height % 2 == 0
        self.video.pix_fmt = "yuv420p" if is_even else "yuv444p"
        context = self.video.codec_context
        context.time_base = video.time_base  # of frames at any distance
        context.flags |= Flags.frame_duration
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        aspect = video.sample_aspect_ratio or Fraction(1)
        context.sample_aspect_ratio = 1 / aspect if look.is_turned else aspect
        self._last = None  # time of the last frame
        self._step = max(1, round(1 / (self.video.codec_context.framerate * video.time_base)))
        others = (*film.streams.audio, *film.streams.subtitles)
        self.copied = [stream for stream in others if self._holds(stream)]
        self._copies = {one.index: out.add_stream_from_template(one) for one in self.copied}
        self._ends = dict.fromkeys(self._copies, (None, 0))  # the last time of each, and its shift
        for one in (video, *self.copied):  # its language, its title
            self._copies.get(one.index, self.video).metadata.update(one.metadata)
        out.set_chapters(film.chapters())

    def _holds(self, stream: "av.stream.Stream") -> bool:
        what = "sound" if stream.type == "audio" else "subtitles"
        if stream.codec_context is None:
            warnings.warn(f"its {what} of an unknown kind cannot be copied", stacklevel=2)
            return False
        name, kind = stream.codec_context.name, self.out.format.name
        if name in self.out.supported_codecs:
            return True
        lost = f"its {what} ({name}) cannot be kept in {kind}; in .mkv it can"
        if stream.type == "audio":
            raise ValueError(lost)
        warnings.warn(lost, stacklevel=2)
        return False

    def note(self, text: str) -> None:
        """Say something of the film's making."""
        earlier = [
            self.out.metadata[key] for key in ("comment", "COMMENT") if key in self.out.metadata
        ]
        self.out.metadata["comment"] = "; ".join([*earlier[:1], f"colorize: {text}"])

    def copy(self, packet: "av.Packet") -> None:
        """Take over a packet of another film.

        Where its times begin anew, as in films that were joined, it follows on the one before.
        """
        if packet.dts is None:  # the last one of each stream is empty
            return
        index, dts = packet.stream.index, packet.dts
        last, shift = self._ends[index]
        if last is not None and dts + shift <= last:
            shift = last + max(1, packet.duration or 0) - dts
        self._ends[index] = dts + shift, shift
        packet.dts, packet.pts = dts + shift, None if packet.pts is None else packet.pts + shift
        packet.stream = self._copies[index]
        self.out.mux(packet)

    def write(self, rgb: Tensor, frame: "av.VideoFrame") -> None:
        """Write (3, H, W) at the time of a frame."""
        new = av.VideoFrame.from_ndarray(rgb.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
        new = new.reformat(
            format=self.video.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        pts = frame.pts
        if pts is None or (self._last is not None and pts <= self._last):
            # Some kinds of film (AVI, a bare stream) know no times.
            pts = 0 if self._last is None else self._last + self._step
        self._last = pts
        new.pts, new.time_base, new.duration = pts, frame.time_base, frame.duration
        self.out.mux(self.video.encode(new))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self.out.mux(self.video.encode())
