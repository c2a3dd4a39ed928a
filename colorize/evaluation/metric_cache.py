"""A cache of per-photo metrics on disk, with which a stopped evaluation continues."""

import json
from pathlib import Path

from colorize.evaluation.result import Metrics
from colorize.utils.files import atomic_write

VIEWS = ("crop", "full_size")
PhotoMetrics = dict[str, Metrics]  # by view


class MetricCache:
    """Per-photo metrics by key, stored as one line of JSON each."""

    def __init__(self, path: Path):
        """Read the stored metrics; an incomplete last line is dropped.

        Raises:
            ValueError: if another line is damaged.
        """
        self.path = path
        self._metrics: dict[str, PhotoMetrics] = {}
        if not path.exists():
            return
        complete, newline, rest = path.read_bytes().rpartition(b"\n")
        if rest:  # the process was killed while writing
            with atomic_write(path) as tmp:
                tmp.write_bytes(complete + newline)
        for number, line in enumerate(complete.splitlines(), 1):
            try:
                record = json.loads(line)
                self._metrics[record["key"]] = {view: record[view] for view in VIEWS}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}: line {number} is damaged; remove the file to start over"
                ) from error

    def __contains__(self, key: str) -> bool:
        return key in self._metrics

    def __getitem__(self, key: str) -> PhotoMetrics:
        return self._metrics[key]

    def add(self, key: str, predictor: str, photo_id: str, metrics: PhotoMetrics) -> None:
        """Store the metrics of one prediction; the names are for readers of the file."""
        self._metrics[key] = metrics
        record = {"key": key, "predictor": predictor, "photo": photo_id, **metrics}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
