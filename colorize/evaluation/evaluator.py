"""Measures of any number of painters on the same photos: streamed, and continued when stopped."""

import contextlib
import hashlib
import json
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import colorize
from colorize.data.folder import PhotoRecord
from colorize.evaluation.predictors import (
    ImageFolderPredictor,
    Predictor,
    center_square,
    file_digest,
)
from colorize.io.image import photo_to_rgb, read_photo
from colorize.metrics.features import (
    EXTRACTORS,
    LEAST_PHOTOS,
    LPIPS,
    MetricUnavailableError,
    column_names,
    fid_kid,
    lpips_alex,
)
from colorize.metrics.image import METRICS, MetricImage, compute_metrics
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.utils.files import atomic_write

_DIGITS = 4  # of a stored measure
_PACKAGES = ("torch", "numpy", "pillow", "scikit-image", "torchmetrics")
GROUND_TRUTH = "truth"
_LEAST_SIZE = 32  # px; what windows of 7 px and networks' strides need
_NAME = re.compile(r"\w[\w .+-]*")  # a row's files are named after it
_TAKEN = (GROUND_TRUTH, "summary")
_BATCH = 32  # squares that a network sees at a time

Measures = dict[str, float | None]


@dataclass
class EvaluationResult:
    """What was measured of one row.

    Attributes:
        name: of the row.
        stamp: how it was measured: crop, filter, sizes, number of photos, versions, the row's own.
        photos: ids, in the order of the measures.
        square: by measure, its value for each photo at the network's size; None where undefined.
        full: likewise at the photos' full sizes.
        features: what networks say, by column: numbers, or a line that says why there are none.
    """

    name: str
    stamp: dict[str, Any]
    photos: list[str]
    center_square: dict[str, list[float | None]]
    full: dict[str, list[float | None]]
    features: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike) -> None:
        """Write as JSON, one measure a line."""
        parts = []
        for key, value in asdict(self).items():
            if key in ("square", "full"):
                lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
                text = "{\n" + ",\n".join(lines) + "\n}"
            else:
                text = json.dumps(value)
            parts.append(f"{json.dumps(key)}: {text}")
        with atomic_write(path) as part:
            part.write_text("{\n" + ",\n".join(parts) + "\n}\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "EvaluationResult":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file holds something else.
        """
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold the measures of a row: {error}") from error


def evaluate(
    rows: Mapping[str, Predictor],
    photos: Sequence[PhotoRecord],
    size: int,
    out: str | os.PathLike,
    features: bool = True,
    full: bool = True,
    progress: bool = True,
) -> dict[str, EvaluationResult]:
    """Let each row paint the same photos, and measure it beside the truth.

    A row paints the photo's largest centered square, brought to `size`, and the whole photo in its
    full size. What was measured is kept in `out/measures.jsonl`, photo by photo; called again
    with the same rows it goes on from there. Of each row a file `NAME.json` remains.

    Args:
        rows: by name; the row `truth` is added.
        photos: the true ones, none smaller than `size`.
        size: of the squares, in pixels.
        out: a folder, made if need be.
        features: whether to ask networks too, for FID, KID and LPIPS on the squares.
        full: whether to measure in full size too.
        progress: whether to show a bar.

    Raises:
        ValueError: if there are no photos, or two of one id; if a photo has no painting, or one of
            another shape, or is too small; if the size is below 32, or a row's name is none or
            taken, or the row has no `stamp`.
    """
    if not photos:
        raise ValueError("no photos to judge by")
    if size < _LEAST_SIZE:
        raise ValueError(f"size must be at least {_LEAST_SIZE} px, got {size}")
    for name in rows:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise ValueError(
                f"{name!r} cannot be a row's name: use letters, digits, spaces and . _ + -, and "
                f"none of {', '.join(_TAKEN)}"
            )
        if not hasattr(rows[name], "stamp"):
            raise ValueError(f"the row {name} needs a `stamp` that says which painter it is")
    check_names(photos)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = {GROUND_TRUTH: _paint_truth, **rows}
    for row in rows.values():
        if isinstance(row, ImageFolderPredictor):
            row.check(photos)
    truths = {photo.id: file_digest(photo.path) for photo in photos}
    # What a measure is of: the row, how it was measured, the photo and, of a folder, its painting.
    keys = {
        name: {photo.id: _key(row, photo.id, truths[photo.id], size, full) for photo in photos}
        for name, row in rows.items()
    }
    path = out / "measures.jsonl"
    known = _read_lines(path)
    todo = {
        photo.id: [name for name in rows if keys[name][photo.id] not in known] for photo in photos
    }
    total = sum(map(len, todo.values()))
    bar = tqdm(total=total, desc="judging", unit="painting", disable=not (progress and total))
    with bar, path.open("a") as file:
        for name, photo, found in _measured(rows, photos, todo, size, full):
            key = keys[name][photo.id]
            known[key] = found
            file.write(json.dumps({"of": key, "row": name, "photo": photo.id, **found}) + "\n")
            file.flush()
            bar.update()
    asked = _features(rows, keys, photos, size, out, progress) if features else {}
    judged, stamp = {}, _stamp(photos, size, full)
    for name, row in rows.items():
        found = [known[keys[name][photo.id]] for photo in photos]
        judged[name] = EvaluationResult(
            name,
            stamp | {"row": row.stamp},
            [photo.id for photo in photos],
            *({m: [f[part][m] for f in found] for m in found[0][part]} for part in _PARTS),
            asked.get(name, {}),
        )
        judged[name].save(out / f"{name}.json")
    return judged


_PARTS = ("square", "full")


def check_names(photos: Sequence[PhotoRecord]) -> None:
    """See that no two photos have one name, by which they are told apart.

    Raises:
        ValueError: if there are such.
    """
    twice = [name for name, times in Counter(photo.id for photo in photos).items() if times > 1]
    if twice:
        raise ValueError(f"{len(twice)} names are of several photos each, such as {twice[0]!r}")


def _paint_truth(name: str, photo: Image.Image) -> Image.Image:
    return photo


_paint_truth.stamp = {"rule": GROUND_TRUTH}


def _measured(
    rows: Mapping[str, Predictor],
    photos: Sequence[PhotoRecord],
    todo: Mapping[str, Sequence[str]],
    size: int,
    full: bool,
) -> Iterator[tuple[str, PhotoRecord, dict[str, Measures]]]:
    """(row, photo, measures): painted one after the other, measured beside each other."""
    workers = os.cpu_count() or 1
    pending: list[tuple[str, PhotoRecord, Future]] = []
    with ThreadPoolExecutor(workers) as pool:
        for photo in photos:
            if not todo[photo.id]:
                continue
            truth = read_photo(photo.path)
            small = center_square(truth, size)
            truths = [MetricImage(photo_to_rgb(picture)) for picture in (small, truth)]
            for name in todo[photo.id]:
                painted = _painted(rows[name], photo.id, truth, small, full)
                pending.append((name, photo, pool.submit(_measure, painted, truths, full)))
            while len(pending) > 4 * workers:
                name, done, future = pending.pop(0)
                yield name, done, future.result()
        for name, done, future in pending:
            yield name, done, future.result()


def _painted(
    row: Predictor, name: str, truth: Image.Image, small: Image.Image, full: bool
) -> list[Image.Image]:
    """A row's painting of the square, and of the whole photo."""
    if isinstance(row, ImageFolderPredictor):  # the square is cut out of it
        whole = row(name, truth)
        return [center_square(whole, small.width), whole]
    if truth.size == small.size or not full:
        return [row(name, small)] * 2
    return [row(name, small), row(name, truth)]


def _measure(
    painted: Sequence[Image.Image], truths: Sequence[MetricImage], full: bool
) -> dict[str, Measures]:
    center_square, whole = (MetricImage(photo_to_rgb(picture)) for picture in painted)
    found = _rounded(compute_metrics(center_square, truths[0]))
    if not full:
        return {"square": found, "full": {}}
    same = truths[0].rgb.shape == truths[1].rgb.shape
    return {"square": found, "full": found if same else _rounded(compute_metrics(whole, truths[1]))}


def _rounded(measures: Measures) -> Measures:
    return {k: v if v is None else float(f"{v:.{_DIGITS}g}") for k, v in measures.items()}


def _read_lines(path: Path) -> dict[str, dict[str, Measures]]:
    """What was measured before; a last line that was cut off is dropped.

    Raises:
        ValueError: if another line is damaged.
    """
    known: dict[str, dict[str, Measures]] = {}
    if not path.exists():
        return known
    whole, newline, rest = path.read_bytes().rpartition(b"\n")
    if rest:  # killed while writing
        with atomic_write(path) as part:
            part.write_bytes(whole + newline)
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = json.loads(line)
            known[entry["of"]] = {part: entry[part] for part in _PARTS}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: line {number} is damaged; remove the file to measure anew"
            ) from error
    return known


def _key(row: Predictor, name: str, truth: str, size: int, full: bool) -> str:
    """A digest of all that a stored measure depends on."""
    painting = row.digest(name) if isinstance(row, ImageFolderPredictor) else None
    facts = [row.stamp, name, truth, painting, size, full, sorted(METRICS), colorize.__version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _features(
    rows: Mapping[str, Predictor],
    keys: Mapping[str, Mapping[str, str]],
    photos: Sequence[PhotoRecord],
    size: int,
    out: Path,
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """What networks say of the squares: by row and column, numbers or why there are none."""
    found: dict[str, dict[str, Any]] = {name: {} for name in rows}

    def seen(name: str, column: str, see: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What a network sees in a row's squares, beside the true ones; kept in `out/features/`."""
        facts = f"{column} {list(keys[name].values())}"
        digest = hashlib.sha256(facts.encode()).hexdigest()[:32]
        path = out / "features" / f"{digest}.pt"
        with contextlib.suppress(CheckpointError):  # not there yet, or damaged: made anew
            return load_checkpoint(path)["seen"]
        batches = _squares(rows[name], photos, size)
        total = -(-len(photos) // _BATCH)
        bar = tqdm(batches, f"{column}: {name}", total, leave=False, disable=not progress)
        with torch.no_grad():
            result = torch.cat([see(*batch).float() for batch in bar])
        save_checkpoint(path, {"seen": result})
        return result

    for extractor, load in EXTRACTORS.items():
        try:
            if len(photos) < LEAST_PHOTOS:
                raise MetricUnavailableError(f"needs {LEAST_PHOTOS} photos")
            network = load()
        except MetricUnavailableError as error:
            for name in rows:
                found[name] |= dict.fromkeys(column_names(extractor), f"skipped: {error}")
            continue
        see = lambda painted, true, network=network: network(painted)  # noqa: E731
        truth = seen(GROUND_TRUTH, extractor, see)
        for name in [name for name in rows if name != GROUND_TRUTH]:
            values = fid_kid(seen(name, extractor, see), truth)
            found[name] |= {f"{key} {extractor}": value for key, value in values.items()}
    try:
        distance = lpips_alex()
    except MetricUnavailableError as error:
        for name in rows:
            found[name][LPIPS] = f"skipped: {error}"
    else:
        for name in rows:
            found[name][LPIPS] = {"values": seen(name, LPIPS, distance).tolist()}
    return found


def _squares(
    row: Predictor, photos: Sequence[PhotoRecord], size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a row's squares and of the true ones, uint8 (n, 3, size, size)."""
    for begin in range(0, len(photos), _BATCH):
        pairs = []
        for photo in photos[begin : begin + _BATCH]:
            truth = read_photo(photo.path)
            small = center_square(truth, size)
            painted = _painted(row, photo.id, truth, small, full=False)[0]
            pairs.append((photo_to_rgb(painted), photo_to_rgb(small)))
        painted, true = zip(*pairs, strict=True)
        yield torch.stack(painted), torch.stack(true)


def _stamp(photos: Sequence[PhotoRecord], size: int, full: bool) -> dict[str, Any]:
    return {
        "crop": "largest centered square; the whole photo in full size",
        "filter": "triangle, antialiased (colorize.io.image.resize)",
        "size": size,
        "full": full,
        "photos": len(photos),
        "colorize": colorize.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # an extra
        return None


def _commit() -> str | None:
    """Of the code, where it lies in a git repository."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # no git here
        return None
    return done.stdout.strip() or None
