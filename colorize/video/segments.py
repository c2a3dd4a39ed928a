"""Finished parts of a long video, kept beside it until all of it is done."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from colorize.utils.files import atomic_write

FRAMES = 240  # of a segment, at least


@dataclass(frozen=True)
class Segment:
    """Encoded frames, and what is needed to go on after them.

    Attributes:
        frames: their number.
        packets: in the order of encoding.
        state: of the colors and of the writer; numbers, text and tensors.
    """

    frames: int
    packets: Sequence[av.Packet]
    state: dict[str, Any]


class SegmentStore:
    """A hidden folder beside the video to be, `.NAME.segments`."""

    def __init__(self, target: Path, key: str):
        """Look for segments of an earlier, interrupted call.

        Args:
            target: the video to be.
            key: what the segments depend on; those of another key are replaced.
        """
        self.folder = target.with_name(f".{target.name}.segments")
        self._key = key
        self._count = 0

    def load(self) -> Iterator[Segment]:
        """Yield the segments of the earlier call, in their order."""
        while (path := self._path(self._count)).exists():
            stored = torch.load(path, weights_only=True)
            if stored["key"] != self._key:
                return
            self._count += 1
            yield Segment(stored["frames"], _packets(stored), stored["state"])

    def add(self, segment: Segment) -> None:
        """Keep the next segment."""
        data = b"".join(bytes(packet) for packet in segment.packets)
        stored = {
            "key": self._key,
            "frames": segment.frames,
            "state": segment.state,
            "data": torch.from_numpy(np.frombuffer(data, np.uint8).copy()),
            "times": [
                (p.size, p.pts, p.dts, p.duration, p.is_keyframe, str(p.time_base))
                for p in segment.packets
            ],
        }
        with atomic_write(self._path(self._count)) as tmp:
            torch.save(stored, tmp)
        self._count += 1

    def remove(self) -> None:
        """Remove all segments; the video is complete."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.pt"


def _packets(stored: dict[str, Any]) -> list[av.Packet]:
    data, start, packets = stored["data"].numpy().tobytes(), 0, []
    for size, pts, dts, duration, is_keyframe, time_base in stored["times"]:
        packet = av.Packet(data[start : start + size])
        packet.pts, packet.dts, packet.duration = pts, dts, duration
        packet.is_keyframe, packet.time_base = is_keyframe, Fraction(time_base)
        packets.append(packet)
        start += size
    return packets
