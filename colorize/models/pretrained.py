"""Trained networks where they lie: in a run, in the hub's form of folder, bundled, on the hub."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from colorize.config import TrainConfig
from colorize.models import create_model, extract_generator
from colorize.models.layers import check_size
from colorize.utils.checkpoint import CheckpointError, load_checkpoint
from colorize.utils.files import atomic_write, file_sha256
from colorize.utils.legacy import upgrade_model_config

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
BUNDLED = Path(__file__).parents[1] / "weights"  # a folder for each network
DEFAULT = "colorful"
_PICKLES = (".bin", ".ckpt", ".pth", ".pt")
_WEIGHTS_OF_RUNS = ("best", "last", "turn")
_SHORT = 8  # digits of SHA-256
_SUMS = "SHA256SUMS"  # of the bundled weights, as `sha256sum --check` reads it


@dataclass(frozen=True)
class Pretrained:
    """A trained network, and what one must know to use it.

    Attributes:
        network: with its weights, on the CPU.
        model: its name in `colorize.models.MODELS`.
        model_kwargs: of its constructor; without weights to begin with.
        size: short side in pixels at which it sees photos.
        name: for people.
        digest: the first 8 digits of the SHA-256 of its file of weights; "" of one in the making.
    """

    network: nn.Module
    model: str
    model_kwargs: dict[str, Any]
    size: int
    name: str
    digest: str = ""


def load(source: str | os.PathLike | None = None, weights: str | None = None) -> Pretrained:
    """Find a trained network and load it.

    Args:
        source: None for the bundled network; the name of a bundled one; the folder of a run, or
            of config.json and model.safetensors; or OWNER/NAME on the Hugging Face hub (extra
            `hub`).
        weights: of a run "best", "last" or "turn"; None takes what suits its method
            (`TrainConfig.eval_checkpoint`).

    Raises:
        FileNotFoundError: if there is no such network.
        CheckpointError: if its weights are missing, damaged, or of another network.
        ValueError: if `weights` is given for what is no run, or is no name of a run's.
    """
    path, name = _find(source)
    is_run = path.is_dir() and not (path / WEIGHTS).is_file()
    if weights is not None and not is_run:
        raise ValueError(f"weights={weights!r} is for runs; {path} is none")
    return _load_run(path, weights) if is_run else _load_folder(path, name)


def _find(source: str | os.PathLike | None) -> tuple[Path, str]:
    """Where a network lies, and its name."""
    if source is None and DEFAULT not in bundled():
        raise FileNotFoundError("no network is bundled: name one, such as the folder of a run")
    name = DEFAULT if source is None else os.fspath(source)
    path = Path(name)
    if (path / WEIGHTS).is_file() or (path / CONFIG).is_file():
        return path, path.resolve().name
    if name in bundled():
        return BUNDLED / name, name
    if path.exists():
        raise FileNotFoundError(f"no run in {path}: it has no {CONFIG}{_about_pickles(path)}")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name), name
    known = ", ".join(bundled()) or "none"
    raise FileNotFoundError(
        f"no run in {path}: it has no {CONFIG}. Bundled networks: {known}; one of the hub is "
        "OWNER/NAME"
    )


def _about_pickles(folder: Path) -> str:
    names = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLES)
    return f"; {names[0]} is a pickle of unknown origin and is not opened" if names else ""


def _load_run(run: Path, weights: str | None) -> Pretrained:
    try:
        config = TrainConfig.load(run / CONFIG)
    except ValueError as error:
        raise CheckpointError(
            f"{run} is neither a run nor a network of colorize: {CONFIG} is of something else, and "
            f"there is no {WEIGHTS}{_about_pickles(run)}"
        ) from error
    args = _without_start(config.model_kwargs)
    if weights not in (None, *_WEIGHTS_OF_RUNS):
        known = ", ".join(_WEIGHTS_OF_RUNS)
        raise ValueError(f"weights of a run must be one of {known}, got {weights!r}")
    path = run / f"{weights or config.eval_checkpoint}.pt"
    state = load_checkpoint(path)
    try:
        network = create_model(config.model, **args)
        average = state.get("average")  # its weights are named below `module`
        if average is not None:
            state["model"] = {
                name.removeprefix("module."): value
                for name, value in average.items()
                if name.startswith("module.")
            }
        network.load_state_dict(state["model"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit {run / CONFIG}: {error}") from error
    painter = extract_generator(network, config.model, args)  # a critic is of no use any more
    return Pretrained(*painter, config.crop_size, run.resolve().name, short_digest(path))


def _load_folder(folder: Path, name: str) -> Pretrained:
    path = folder / WEIGHTS
    try:
        config = upgrade_model_config(json.loads((folder / CONFIG).read_text()))
        model, args, size = config["model"], _without_start(config["model_kwargs"]), config["size"]
        network = create_model(model, **args)
        check_size(size, network.size_divisibility)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} does not describe a network of colorize: {error}"
        ) from error
    try:
        digest = file_sha256(path)
        if folder.parent == BUNDLED and digest != _sums().get(folder.name):
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 is another; install colorize again"
            )
        if digest != config.get("sha256", digest):
            raise CheckpointError(f"{path} is damaged: {CONFIG} tells of another SHA-256")
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {folder / CONFIG}: {error}") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise CheckpointError(f"{path} is damaged: it holds weights that are no numbers")
    return Pretrained(network, model, args, size, name, digest[:_SHORT])


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FileNotFoundError(
            f"no folder {name}; to look for it on the Hugging Face hub: "
            "pip install 'colorize-photos[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(f"no folder {name}, nor is it on the hub: {reason}") from error


def save(found: Pretrained, folder: str | os.PathLike, card: str) -> None:
    """Write a network in the hub's form: config.json, model.safetensors in fp16, README.md.

    Args:
        found: the network.
        folder: which must not hold a network yet.
        card: the model card, Markdown.

    Raises:
        FileExistsError: if the folder holds a network.
        ValueError: if a weight does not fit into fp16.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS, CARD):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is there already: choose another folder")
    state = {}
    for name, value in found.network.state_dict().items():
        state[name] = value.half().contiguous() if value.is_floating_point() else value.contiguous()
        if not state[name].isfinite().all():
            raise ValueError(f"the weight {name} does not fit into 16 bits")
    config = {"model": found.model, "model_kwargs": found.model_kwargs, "size": found.size}
    with atomic_write(folder / WEIGHTS) as part:
        save_file(state, part, metadata={"format": "pt"})
        config["sha256"] = file_sha256(part)  # flipped bits would paint, and wrongly
    with atomic_write(folder / CARD) as part:
        part.write_text(card)
    with atomic_write(folder / CONFIG) as part:
        part.write_text(json.dumps(config, indent=2) + "\n")


def model_card(found: Pretrained) -> str:
    """A model card to begin with: what is known from the network itself."""
    arguments = json.dumps(found.model_kwargs)
    return f"""---
library_name: colorize
pipeline_tag: image-to-image
tags: [image-colorization]
---

# {found.name}

Colors black-and-white photos: `{found.model}` with `{arguments}`, which sees photos at
{found.size} px. The colors are invented; they say nothing about what was there.

```python
import colorize

colorizer = colorize.Colorizer.from_pretrained("{found.name}")
painted = colorizer(colorize.read_photo("grandma.jpg"))
```

To be written by who publishes it: the training photos and their licence, the measures
(`colorize evaluate`), the limits.
"""


def bundled() -> list[str]:
    """The names of the networks that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{WEIGHTS}"))


def cached() -> dict[str, Path]:
    """The networks that were fetched from the hub, by name; none without the extra `hub`."""
    try:
        from huggingface_hub import CacheNotFound, scan_cache_dir
    except ImportError:
        return {}
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    found = {}
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        for revision in sorted(repo.revisions, key=lambda revision: revision.last_modified):
            if (revision.snapshot_path / WEIGHTS).exists() and _is_ours(revision.snapshot_path):
                found[repo.repo_id] = revision.snapshot_path
    return found


def short_digest(path: Path) -> str:
    """The first digits of a file's SHA-256, by which people tell weights apart."""
    return file_sha256(path)[:_SHORT]


def _sums() -> dict[str, str]:
    """SHA-256 of the bundled weights, by the network's name."""
    lines = (BUNDLED / _SUMS).read_text().splitlines()
    return {Path(name).parent.name: digest for digest, name in map(str.split, lines)}


def _is_ours(folder: Path) -> bool:
    try:
        return "model_kwargs" in upgrade_model_config(json.loads((folder / CONFIG).read_text()))
    except (OSError, ValueError, AttributeError):
        return False


def _without_start(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a network whose own weights follow, which need not look for others first."""
    return args | ({"encoder_weights": None} if "encoder_weights" in args else {})
