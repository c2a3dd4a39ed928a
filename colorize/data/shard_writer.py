"""Writing of prepared photos as tar shards in WebDataset's layout: `colorize shard`.

Beyond the size of one machine's disk, opening every photo as a file of its own at random is slow.
Shards of a thousand photos, already shuffled, are read sequentially instead.
Layout: https://github.com/webdataset/webdataset
"""

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from colorize.data.manifest import Manifest, ManifestEntry
from colorize.data.splits import MANIFEST, SPLITS
from colorize.utils.files import atomic_write, file_sha256

SHARD_INDEX = "index.json"


def write_shards(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    photos_per_shard: int = 1000,
    min_side: int = 1,
    *,
    progress: bool = True,
) -> dict[str, list[Path]]:
    """Write the good photos of a prepared folder as tar shards, `train-000000.tar` and so on.

    A photo is `KEY.jpg` and `KEY.json` (id, photographer, split, width, height, sha256), with its
    percent-encoded id as KEY. Photos are ordered by a hash of the id, so that each shard is a
    random sample of its split. The same photos give the same bytes. `index.json`, written last,
    holds what readers need to know of each shard. The call is resumable: finished shards are
    skipped.

    Args:
        folder: made by `colorize prepare` or `colorize download`; only read.
        out: folder of the shards.
        photos_per_shard: the last shard of a split holds the rest.
        min_side: smaller photos are excluded; crops of this size, in pixels, can be cut from all
            others.
        progress: whether to draw a progress bar.

    Returns:
        The shards of each split.

    Raises:
        ValueError: if the folder is not completely prepared; a photo differs from its manifest
            entry; there is no photo to write; or `out` holds shards of other photos.
    """
    folder, out = Path(folder), Path(out)
    if photos_per_shard < 1:
        raise ValueError(f"photos_per_shard must be at least 1, got {photos_per_shard}")
    plan = _plan_shards(folder, photos_per_shard, min_side)
    if others := sorted({path.name for path in out.glob("*.tar")} - plan.keys()):
        raise ValueError(
            f"{out} holds {len(others)} other tar files, such as {others[0]}: remove them, "
            "or choose another folder"
        )
    (out / SHARD_INDEX).unlink(missing_ok=True)  # its existence promises that all shards exist
    rows, total = [], sum(map(len, plan.values()))
    with tqdm(total=total, desc="sharding", unit=" photos", disable=not progress) as bar:
        for name, entries in plan.items():
            _write_shard(out / name, entries, folder)
            rows.append(
                {
                    "name": name,
                    "split": entries[0].split,
                    "photos": len(entries),
                    "min_side": min(map(_short_side, entries)),
                    "sha256": file_sha256(out / name),
                }
            )
            bar.update(len(entries))
    with atomic_write(out / SHARD_INDEX) as tmp:
        tmp.write_text(json.dumps({"shards": rows}, indent=1) + "\n", encoding="utf-8")
    return {split: [out / name for name in plan if name.startswith(split)] for split in SPLITS}


def id_digest(photo_id: str) -> bytes:
    """Hash an id, for the order of the photos and for random numbers."""
    return hashlib.sha256(photo_id.encode()).digest()


def _plan_shards(
    folder: Path, photos_per_shard: int, min_side: int
) -> dict[str, list[ManifestEntry]]:
    """Choose the photos of each shard, by its name."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} has no {MANIFEST}: make it with `colorize prepare`")
    manifest = Manifest(folder)
    if pending := manifest.counts()["new"] + manifest.damaged:
        raise ValueError(
            f"{manifest.path}: {pending} photos are not yet classified: re-run `colorize prepare` "
            "or `colorize download` until it completes"
        )
    plan = {}
    for split in SPLITS:
        entries = [
            entry
            for entry in manifest.entries.values()
            if (entry.state, entry.split) == ("good", split) and _short_side(entry) >= min_side
        ]
        entries.sort(key=lambda entry: id_digest(entry.id))
        for first in range(0, len(entries), photos_per_shard):
            name = f"{split}-{first // photos_per_shard:06d}.tar"
            plan[name] = entries[first : first + photos_per_shard]
    if not plan:
        raise ValueError(f"{folder} holds no good photo of at least {min_side} px: {manifest}")
    return plan


def _short_side(entry: ManifestEntry) -> int:
    return min(entry.facts.width, entry.facts.height)


def _write_shard(path: Path, entries: Sequence[ManifestEntry], folder: Path) -> None:
    """Write a shard, unless it already exists with these photos."""
    lines = [_describe(entry) for entry in entries]
    # The bytes of a shard follow from these lines; its first header holds their digest.
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with contextlib.suppress(FileNotFoundError, tarfile.ReadError), tarfile.open(path) as tar:
        if tar.pax_headers.get("comment") == digest:
            return
    with (
        atomic_write(path) as tmp,
        tarfile.open(tmp, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": digest}) as tar,
    ):
        for entry, line in zip(entries, lines, strict=True):
            # WebDataset treats everything after the first dot as the suffix.
            key = quote(entry.id, safe="").replace(".", "%2E")
            for suffix, data in (("jpg", _read_photo(folder, entry)), ("json", line.encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")  # no owner, mode 644, time 0
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _describe(entry: ManifestEntry) -> str:
    record = {"id": entry.id, "photographer": entry.photographer, "split": entry.split}
    facts = entry.facts
    return json.dumps(
        record | {"width": facts.width, "height": facts.height, "sha256": facts.sha256}
    )


def _read_photo(folder: Path, entry: ManifestEntry) -> bytes:
    path = folder / entry.file
    data = path.read_bytes() if path.is_file() else None
    if data is None or hashlib.sha256(data).hexdigest() != entry.facts.sha256:
        problem = "missing" if data is None else f"another file, of {len(data)} bytes"
        raise ValueError(
            f"{path} is {problem}; the manifest lists {entry.facts.bytes} bytes. Restore it, or "
            f"remove the line of {entry.id} from {folder / MANIFEST}, and run `colorize prepare` "
            "or `colorize download` again"
        )
    return data
