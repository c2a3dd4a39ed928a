"""The result of one predictor: per-photo metrics, perceptual scores, provenance; as a file."""

import json
import lzma
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from colorize.metrics.features import Score
from colorize.utils.files import atomic_write

Metrics = dict[str, float | None]


@dataclass
class EvaluationResult:
    """What was measured of one predictor.

    Attributes:
        name: of the predictor.
        provenance: how it was measured: crop, filter, sizes, number of photos, versions, and the
            predictor's own provenance.
        photos: ids, in the order of the values.
        crop_metrics: by metric, its value for each photo's centered square; None where undefined.
        full_size_metrics: likewise for the photos in full size; empty if they were not measured.
        perceptual: FID, KID and LPIPS of the squares by column: scores, or why there are none.
    """

    name: str
    provenance: dict[str, Any]
    photos: list[str]
    crop_metrics: dict[str, list[float | None]]
    full_size_metrics: dict[str, list[float | None]]
    perceptual: dict[str, Score | str] = field(default_factory=dict)

    def save(self, path: str | os.PathLike) -> None:
        """Write as JSON with one metric per line; compressed if the suffix is `.xz`."""
        fields = []
        for key, value in asdict(self).items():
            text = json.dumps(value)
            if key.endswith("_metrics"):
                lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
                text = "{\n" + ",\n".join(lines) + "\n}"
            fields.append(f"{json.dumps(key)}: {text}")
        content = ("{\n" + ",\n".join(fields) + "\n}\n").encode()
        with atomic_write(path) as tmp:
            tmp.write_bytes(lzma.compress(content) if Path(path).suffix == ".xz" else content)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "EvaluationResult":
        """Read a file that `save` wrote.

        Raises:
            ValueError: if the file holds something else.
        """
        try:
            content = Path(path).read_bytes()
            if Path(path).suffix == ".xz":
                content = lzma.decompress(content)
            return cls(**json.loads(content))
        except (TypeError, ValueError, lzma.LZMAError) as error:
            raise ValueError(f"{path} is not an evaluation result: {error}") from error
