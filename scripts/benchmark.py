"""Train every method on the same photos, and evaluate all by the same code.

    python scripts/benchmark.py --data PHOTOS --weights MOBILENET_V2 --jobs 2

`PHOTOS` holds `train/` and `test/`; a sixth of the training photos, by a hash of the name, are for
validation. Each method sees about 40,000 crops of 96 px; encoders, where a method has a free
choice, are MobileNetV2 with the ImageNet weights of the given file. Every choice is made on the
validation photos; the test photos are evaluated once, when a run has finished, and the result is
stored in `report/results/benchmark/`. The same command again continues a stopped benchmark.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from reports.pages import sample_photos, save_jpegs

from colorize.config import TrainConfig
from colorize.data.dataset import ExampleSettings
from colorize.data.folder import InspectedPhoto, PhotoFolder, PhotoRecord
from colorize.data.loaders import eval_loader, train_loader
from colorize.evaluation.baselines import GROUND_TRUTH, TrainingReference, baselines
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import ModelPredictor
from colorize.evaluation.result import EvaluationResult
from colorize.presets import PRESETS
from colorize.trainers import open_run
from colorize.utils.device import tune_malloc
from colorize.utils.files import atomic_write

RESULTS = Path(__file__).parents[1] / "report" / "results" / "benchmark"
SIZE, BATCH_SIZE, EPOCHS = 96, 16, 6
VIVIDNESS = (0.0, 0.3, 0.62, 0.8, 0.9, 1.0)  # of the classification; 1 - temperature
SEEDS = 3  # of the source project's methods and of the losses; other methods run once
SMALL_SIDE = 288  # px; the columns of the figures are not wider

_ENCODER = {"encoder_name": "mobilenet_v2", "padding": "same"}
_UNET = {"depth": 5, "base_channels": 24}  # 96 px can be halved five times


def _on_budget(preset: TrainConfig, model_kwargs: dict[str, Any], **settings: Any) -> TrainConfig:
    """Give a method the benchmark's model and budget."""
    return replace(
        preset,
        model_kwargs=model_kwargs,
        crop_size=SIZE,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        **settings,
    )


SOURCE_METHODS = {
    "autoencoder": _on_budget(PRESETS["autoencoder"], _ENCODER, patience=None),
    "fcn": _on_budget(PRESETS["fcn"], _ENCODER, patience=None),
    "unet_gan": _on_budget(PRESETS["unet_gan"], _UNET),
}

# The effect of the loss: one model, one optimizer, only the loss differs.
_ENCODER_UNET = _ENCODER | {"width": 128, "to_stride": 4}
_LOSS = _on_budget(PRESETS["encoder_unet"], _ENCODER_UNET, betas=(0.5, 0.999))
_GAN = replace(
    _LOSS,
    model="encoder_unet_gan",
    model_kwargs=_ENCODER_UNET | {"discriminator_channels": 32},
    gan_loss="vanilla",
)
LOSSES = {
    "mse": replace(_LOSS, reconstruction_loss="mse"),
    "classification": replace(
        _LOSS, model="color_classifier", reconstruction_loss="rebalanced_cross_entropy"
    ),
    "gan_10": replace(_GAN, reconstruction_weight=10.0),
    "l1": replace(_LOSS, reconstruction_loss="l1"),
    "gan_100": replace(_GAN, reconstruction_weight=100.0),
    "smooth_l1": replace(_LOSS, reconstruction_loss="smooth_l1"),
}

_NOGAN_KWARGS = {
    "attention": 8,
    "spectral_norm": True,
    "discriminator_attention": 8,
    "discriminator_channels": 32,
}
OTHERS = {
    "unet": _on_budget(PRESETS["unet"], _UNET),
    "lsgan": _on_budget(PRESETS["lsgan"], _UNET),
    "sagan": _on_budget(PRESETS["sagan"], PRESETS["sagan"].model_kwargs | _UNET),
    "nogan": _on_budget(
        PRESETS["nogan"],
        _ENCODER_UNET | _NOGAN_KWARGS,
        lr=3e-4,
        reconstruction_loss="l1",
        reconstruction_weight=10.0,
        phases=(("generator", 4, 1.0), ("discriminator", 1, 1.0), ("joint", 1, 0.2)),
    ),
    "hint_guided": _on_budget(PRESETS["hint_guided"], _ENCODER_UNET | {"hints": True}),
    "degraded": _on_budget(PRESETS["degraded"], _ENCODER_UNET),
}
METHODS = SOURCE_METHODS | LOSSES | OTHERS


def runs() -> list[tuple[str, int]]:
    """List every method with its seeds: first all methods once, then the other seeds."""
    first = [(method, 0) for method in METHODS]
    return first + [(m, seed) for seed in range(1, SEEDS) for m in SOURCE_METHODS | LOSSES]


def settings(method: str, seed: int, weights: str | None) -> TrainConfig:
    """Return the settings of a run; `weights` is the file of the encoder's."""
    config = METHODS[method]
    kwargs = dict(config.model_kwargs)
    if "encoder_name" in kwargs:
        kwargs["encoder_weights"] = weights
    return replace(config, model_kwargs=kwargs, seed=seed)


def split_photos(data: Path) -> dict[str, tuple[InspectedPhoto, ...]]:
    """Select the photos of each split; a sixth of the training photos are for validation."""
    folder = PhotoFolder(data)
    train = folder.select("train", min_side=SIZE).photos
    is_val = {photo: _hash(photo.id) % 6 == 0 for photo in train}
    return {
        "train": tuple(photo for photo in train if not is_val[photo]),
        "val": tuple(photo for photo in train if is_val[photo]),
        "test": folder.select("test", min_side=SIZE).photos,
    }


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def train(method: str, seed: int, data: Path, weights: str | None, out: Path) -> None:
    """Train one run to its end; a stopped run continues."""
    photos = split_photos(data)
    config = settings(method, seed, weights)
    open_run(config, out / f"{method}-{seed}", "cpu").fit(
        train_loader(
            photos["train"], SIZE, BATCH_SIZE, seed, settings=ExampleSettings.from_config(config)
        ),
        eval_loader(photos["val"], SIZE, BATCH_SIZE),
    )


def is_evaluated(
    method: str, seed: int, data: Path, weights: str | None, results: Path = RESULTS
) -> bool:
    """Check whether the result of a run is stored; then nothing remains to be done.

    Raises:
        ValueError: if the stored result is of other test photos or settings.
    """
    name = f"{method}-{seed}"
    result = results / name
    if not _is_result(result / f"{name}.json.xz", split_photos(data)["test"]):
        return False
    stored = TrainConfig.load(result / "config.json")
    if asdict(stored) != without_paths(settings(method, seed, weights)):
        raise ValueError(f"{result} is of other settings than today's: use other --results")
    return True


def evaluate_run(method: str, seed: int, data: Path, out: Path, results: Path = RESULTS) -> None:
    """Evaluate a finished run on the test photos, once, and store the result."""
    name = f"{method}-{seed}"
    result, run = results / name, out / name
    photos = split_photos(data)["test"]
    predictor = ModelPredictor(run)
    features = out / "baselines" / "features"
    if features.exists():  # the features of the ground truth need not be computed again
        shutil.copytree(features, run / "test" / "features", dirs_exist_ok=True)
    evaluation = evaluate([predictor], photos, SIZE, run / "test")
    variants = {}
    if predictor.colorizer.predicts_distribution:
        predictors = [predictor.with_vividness(vividness) for vividness in VIVIDNESS]
        variants = evaluate(
            predictors, photos, SIZE, run / "vividness", perceptual=False, full_size=False
        )
    result.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "log.jsonl", result / "log.jsonl")
    config = without_paths(TrainConfig.load(run / "config.json"))
    with atomic_write(result / "config.json") as tmp:
        tmp.write_text(json.dumps(config, indent=2) + "\n")
    if seed == 0:
        colorized = {key: predictor(key, photo) for key, photo in sample_photos().items()}
        save_jpegs(
            colorized, result / "colorized", None if method in SOURCE_METHODS else SMALL_SIDE
        )
    for variant, variant_result in variants.items():
        if variant != GROUND_TRUTH:
            variant_result.save(result / f"{variant}.json.xz")
    evaluation[name].save(result / f"{name}.json.xz")  # last: it marks the run as evaluated


def without_paths(config: TrainConfig) -> dict[str, Any]:
    """Return settings to be stored: of the encoder's weights the file's name, not its folder."""
    record = asdict(config)
    weights = record["model_kwargs"].get("encoder_weights")
    if weights is not None:
        record["model_kwargs"]["encoder_weights"] = Path(weights).name
    return record


def _is_result(path: Path, photos: Sequence[PhotoRecord]) -> bool:
    """Check whether a result exists, of these photos.

    Raises:
        ValueError: if it is of other photos.
    """
    if not path.exists():
        return False
    if EvaluationResult.load(path).photos != [photo.id for photo in photos]:
        raise ValueError(f"{path} is of other test photos: use other --results")
    return True


def evaluate_baselines(data: Path, out: Path, results: Path = RESULTS) -> None:
    """Evaluate the ground truth and the baselines on the test photos."""
    photos = split_photos(data)
    folder = results / "baselines"
    if _is_result(folder / f"{GROUND_TRUTH}.json.xz", photos["test"]):
        return
    reference = TrainingReference(photos["train"], out / "training.pt")
    evaluation = evaluate(baselines(reference), photos["test"], SIZE, out / "baselines")
    for name, result in reversed(evaluation.items()):  # the ground truth last, as a mark
        result.save(folder / f"{name}.json.xz")


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, type=Path, metavar="PHOTOS", help="folder with train/ and test/"
    )
    parser.add_argument("--weights", metavar="FILE", help="weights of a torchvision MobileNetV2")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("runs/benchmark"),
        metavar="DIR",
        help="folder of the runs (default: runs/benchmark)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="folder of the results (default: report/results/benchmark)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs in parallel (default: 1)"
    )
    parser.add_argument("--only", metavar="METHOD-SEED", help="only this run, in this process")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="METHOD", help="only these methods"
    )
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    if args.only and args.only not in _names():
        parser.error(f"--only must be one of {', '.join(_names())}, got {args.only}")
    if not args.data.is_dir():
        parser.error(f"no such folder of photos: {args.data}")
    return args


def _names() -> list[str]:
    return [f"{method}-{seed}" for method, seed in [("baselines", 0), *runs()]]


def main() -> int:
    """Run the benchmark, each run in a process of its own; returns the exit status."""
    args = _parse_args()
    if args.only:
        tune_malloc()
        method, _, seed = args.only.rpartition("-")
        if method == "baselines":
            evaluate_baselines(args.data, args.output, args.results)
        elif not is_evaluated(method, int(seed), args.data, args.weights, args.results):
            train(method, int(seed), args.data, args.weights, args.output)
            evaluate_run(method, int(seed), args.data, args.output, args.results)
        return 0
    # One thread each: two runs in parallel are nearly twice as fast as one on two threads.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(name: str) -> int:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        return subprocess.run(command, env=environment).returncode

    wanted = ("baselines", *(args.methods or METHODS))
    names = [name for name in _names() if name.rpartition("-")[0] in wanted]
    with ThreadPoolExecutor(args.jobs) as pool:
        statuses = list(pool.map(start, names))
    failed = [name for name, status in zip(names, statuses, strict=True) if status]
    print("failed: " + ", ".join(failed) if failed else "all runs finished")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
