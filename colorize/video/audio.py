"""Audio of videos: whether a container holds it as it is, and another encoding if it does not."""

import io
from typing import Literal

import av
from av.container import OutputContainer
from av.stream import Stream

_LOSSLESS = ("alac", "ape", "flac", "tta", "wavpack", "wmalossless")  # and pcm_...
_BIT_RATE = 192_000
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_RATES = {"libopus": 48_000}  # Hz, of codecs that know few


def can_hold(container: str, stream: Stream) -> bool:
    """Tell whether a container can hold a stream as it is, by writing a header with it.

    Args:
        container: FFmpeg's name of the format.
        stream: of the source.
    """
    with av.open(io.BytesIO(), "w", format=container) as trial:
        try:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
        except (av.error.FFmpegError, ValueError):
            return False
    return True


def replacement(container: str, codec: str) -> Literal["aac", "alac", "flac", "libopus"]:
    """Choose the codec for audio that a container cannot hold.

    Args:
        container: FFmpeg's name of the format.
        codec: of the source; lossless audio stays so, except in WebM.
    """
    if container == "webm":
        return "libopus"
    if codec in _LOSSLESS or codec.startswith("pcm_"):
        return "flac" if container == "matroska" else "alac"
    return "aac"


class AudioEncoder:
    """Decodes the packets of an audio stream, and encodes them with another codec."""

    def __init__(self, target: OutputContainer, source: av.AudioStream, codec: str):
        """Add a stream to the container.

        Args:
            target: the new file.
            source: the stream that it cannot hold.
            codec: FFmpeg's name of the encoder.
        """
        self._source = source
        rate = _RATES.get(codec, source.rate)
        stream = target.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        self.stream = stream
        channels = source.layout.nb_channels
        # Some containers tell the number of channels alone.
        is_unnamed = source.layout.name.endswith("channels")
        self.stream.layout = _LAYOUTS.get(channels, "stereo") if is_unnamed else source.layout.name
        if codec in ("aac", "libopus"):
            self.stream.bit_rate = _BIT_RATE

    def encode(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets that become ready with one of the source; the last one is empty."""
        try:
            frames = self._source.decode(packet)
        except av.error.InvalidDataError:
            return []
        return [new for frame in frames for new in self.stream.encode(frame)]

    def finish(self) -> list[av.Packet]:
        """Return the last packets."""
        return self.stream.encode(None)
