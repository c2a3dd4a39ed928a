"""Use a quarter of an hour with a GPU: check, train the released model and the three attempts.

    python scripts/train_on_gpu.py pack --data PREPARED --out packed   # beforehand, anywhere
    python scripts/train_on_gpu.py run  --data packed --out DIR --minutes 8 --weights MOBILENET_V2

`pack` writes the photos of a prepared folder at 144 px into tar files of about 35 MB, the test
photos at 256 px. `run` does, one after the other, each saved before the next one starts:

checks     every trainer's step in three precisions, compiled, resumed, out of memory; the notebook
released   the model of `scripts/release_model.py`, from the encoder's weights or from `--init-from`
attempts   the autoencoder, the FCN and the U-Net GAN, scored on the test photos
speed      photos per second, share of the peak, idle share, memory

`--only PART` runs one of them. DIR ends up with at most 8 files, each below 15 MB. Only torch,
torchvision, numpy, pillow, scikit-image, safetensors, tqdm and matplotlib are needed.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from release_model import STAGES, VALIDATION

import colorize
from colorize.config import TrainConfig
from colorize.data.dataset import ExampleSettings
from colorize.data.device_photos import DeviceLoader, DevicePhotos
from colorize.data.folder import InspectedPhoto, PhotoFolder
from colorize.data.loaders import eval_loader
from colorize.evaluation.baselines import TrainingReference, baselines
from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import ModelPredictor
from colorize.evaluation.tables import ERROR_COLUMNS, table
from colorize.models.pretrained import WEIGHTS, load, model_card, save
from colorize.trainers import Trainer, open_run
from colorize.trainers.callbacks import Callback, Training
from colorize.utils.files import atomic_write

TRAIN_SIDE, TEST_SIDE = 144, 256  # px, short sides of packed photos
SHARD_BYTES = 35e6
PARTS = ("checks", "released", "attempts", "speed")
SHARES = {"checks": 150, "released": 240, "attempts": 180, "speed": 30}  # of the time
ROOT = Path(__file__).parents[1]

_STUBS = """
import sys, types
for name in ("IPython", "IPython.display", "matplotlib_inline", "matplotlib_inline.backend_inline"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython.display"].Markdown = str
sys.modules["matplotlib_inline.backend_inline"].set_matplotlib_formats = lambda *_, **__: None
"""


@dataclass
class Job:
    """What the parts share.

    Attributes:
        data: folder of the unpacked photos.
        out: folder of the results.
        work: folder for everything else.
        device: torch's name of it.
        weights: of the encoder; None starts from random ones.
        init_from: a model that the released one starts from.
        tiny: shrinks everything, for a try on a CPU.
    """

    data: Path
    out: Path
    work: Path
    device: str
    weights: str | None
    init_from: str | None
    tiny: bool


# Packing.


def pack(data: Path, out: Path) -> None:
    """Write the photos of a prepared folder into small tar files.

    Where the folder holds photos of the list in `VALIDATION`, these are for validation and all
    others but the test photos for training; else its own splits stay.
    """
    names = set(VALIDATION.read_text().split())
    photos = PhotoFolder(data).select("all").photos
    # A photo prepared from WebP has both suffixes.
    listed = {p for p in photos if not names.isdisjoint((p.path.name, p.path.stem))}
    entries = []
    for photo in photos:
        split = photo.split
        if listed and split != "test":
            split = "val" if photo in listed else "train"
        entries.append((split, photo, TEST_SIDE if split == "test" else TRAIN_SIDE))
    out.mkdir(parents=True, exist_ok=True)
    shard, size, number = [], 0, 0
    for i, (split, photo, side) in enumerate(entries):
        encoded = _shrunk(photo.path, side)
        shard.append((f"{split}/{i:05}-{photo.path.stem}.webp", encoded))
        size += len(encoded)
        if size > SHARD_BYTES or i == len(entries) - 1:
            with atomic_write(out / f"photos-{number:02}.tar") as tmp:
                _write_tar(tmp, shard)
            shard, size, number = [], 0, number + 1
    print(f"{len(entries)} photos in {number} files in {out}")


def _shrunk(path: Path, side: int) -> bytes:
    photo = colorize.read_photo(path)
    scale = side / min(photo.size)
    if scale < 1:
        size = (round(photo.width * scale), round(photo.height * scale))
        photo = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
    buffer = io.BytesIO()
    photo.save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()


def _write_tar(path: Path, files: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def unpack(packed: Path, target: Path) -> Path:
    """Extract all tar files into a folder, once."""
    done = target / ".unpacked"
    if not done.exists():
        for path in sorted(packed.glob("*.tar")):
            with tarfile.open(path) as tar:
                tar.extractall(target, filter="data")
        done.touch()
    return target


# The parts.


def run_checks(job: Job, seconds: float) -> dict[str, Any]:
    """Run every check, and take down what it says or how it fails."""
    results: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    checks: dict[str, Callable[[], object]] = {}
    for preset in ("unet_gan_quick", "zhang2016_quick", "encoder_unet_quick"):
        for precision in ("fp32", "bf16", "fp16"):
            checks[f"{preset} {precision}"] = lambda p=preset, q=precision: _check_step(job, p, q)
    checks |= {
        "compile": lambda: _check_step(job, "encoder_unet_quick", "bf16", compile=True),
        "resume": lambda: _check_resume(job),
        "out of memory": lambda: _check_memory_message(job),
        "same colors as on the CPU": lambda: _check_colors(job),
        "notebook": lambda: _check_notebook(job, max(10.0, deadline - time.monotonic())),
    }
    for name, check in checks.items():
        if time.monotonic() > deadline:
            results[name] = "no time left"
            continue
        start = time.monotonic()
        try:
            outcome: object = check()
        except Exception as error:  # a check that fails is a result; the others go on
            outcome = f"FAILED: {error}\n{traceback.format_exc()}"
        results[name] = {"result": outcome, "seconds": round(time.monotonic() - start, 1)}
        print(f"{name}: {str(outcome).splitlines()[0]}", flush=True)
        _write_json(job.out / "checks.json", results)
    return results


def _quick_config(preset: str, **changes: Any) -> TrainConfig:
    config = colorize.PRESETS[preset]
    kwargs = {**config.model_kwargs}
    if "encoder_weights" in kwargs:
        kwargs["encoder_weights"] = None
    return replace(config, epochs=1, patience=None, model_kwargs=kwargs, **changes)


@contextlib.contextmanager
def _folder(job: Job) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=job.work))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _check_step(job: Job, preset: str, precision: str, *, compile: bool = False) -> object:
    """Train the embedded photos for an epoch, and return its record."""
    config = _quick_config(preset, precision=precision, compile=compile)
    with _folder(job) as path:
        trainer = open_run(config, path / "run", job.device)
        loaders = colorize.run_loaders(colorize.load_samples(), config)
        return trainer.fit(*loaders, progress=False)[-1]


def _check_resume(job: Job) -> str:
    """Compare a run of two epochs with one that was stopped after the first."""
    config = replace(_quick_config("unet_gan_quick", precision="fp32"), epochs=2)
    with _folder(job) as path:
        losses = []
        for name, epochs in (("whole", (2,)), ("parts", (1, 2))):
            for count in epochs:
                shortened = replace(config, epochs=count)
                trainer = open_run(shortened, path / name, job.device)
                loaders = colorize.run_loaders(colorize.load_samples(), shortened)
                history = trainer.fit(*loaders, progress=False)
            losses.append(history[-1]["val"]["loss"])
    return f"validation loss {losses[0]} uninterrupted, {losses[1]} resumed"


def _check_memory_message(job: Job) -> str:
    """Ask for more memory than there is, and return the error."""
    if not job.device.startswith("cuda"):
        return "needs CUDA"
    config = _quick_config("zhang2016_quick", crop_size=64, batch_size=8)
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        return f"FAILED: no error, {_check_step(job, 'zhang2016_quick', 'fp32')} {config.model}"
    except ValueError as error:
        return str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _check_colors(job: Job) -> str:
    """Compare the embedded photos, colorized by the bundled model on the device and on the CPU."""
    colorizers = [colorize.Colorizer.from_pretrained(device=d) for d in (job.device, "cpu")]
    worst = 0
    for photo in colorize.load_samples().select("test").photos[: 2 if job.tiny else None]:
        image = colorize.read_photo(photo.path)
        ours, theirs = (_levels(colorizer(image)) for colorizer in colorizers)
        worst = max(worst, int((ours - theirs).abs().max()))
    return f"at most {worst} levels apart" if worst <= 8 else f"FAILED: {worst} levels apart"


def _levels(photo: Image.Image) -> torch.Tensor:
    return torch.tensor(list(photo.convert("RGB").tobytes()), dtype=torch.int)


def _check_notebook(job: Job, seconds: float) -> str:
    """Run the code cells of the notebook as a script, with one epoch for each attempt."""
    cells = json.loads((ROOT / "colorize.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code[0] += '\nCHANGES = {n: {"epochs": 1} for n in ("autoencoder", "fcn", "unet_gan")}\n'
    with _folder(job) as path:
        script = path / "notebook.py"
        script.write_text("\n".join([_STUBS, *code]))
        done = subprocess.run(
            [sys.executable, script.name],
            cwd=path,
            env={**_environment(), "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    if done.returncode:
        return f"FAILED: {done.stderr[-3000:]}"
    return f"{len(code)} code cells ran"


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


class Deadline(Callback):
    """Ends a training before an epoch that would end too late."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds
        self._started: float | None = None

    def on_epoch_start(self, training: Training, epoch: int) -> None:
        """Stop if an epoch as long as the last one does not fit any more; the first one is run."""
        now = time.monotonic()
        if self._started is not None and now + (now - self._started) > self.end:
            training.should_stop = True
        self._started = now


def train_for(
    config: TrainConfig,
    photos: dict[str, Sequence[InspectedPhoto]],
    decoded: DevicePhotos,
    run: Path,
    job: Job,
    seconds: float,
) -> Trainer:
    """Train for so many seconds; the epochs are set by the measured speed, for the schedule."""
    workers = 0 if job.tiny else 8

    def loaders(settings: TrainConfig) -> tuple[DeviceLoader, Any]:
        train = DeviceLoader(
            photos["train"],
            decoded,
            settings.crop_size,
            settings.batch_size,
            seed=settings.seed,
            workers=workers,
            settings=ExampleSettings.from_config(settings),
        )
        return train, eval_loader(photos["val"], settings.crop_size, settings.batch_size, workers)

    start = time.monotonic()
    trial = replace(config, epochs=1, patience=None, phases=None)
    trainer = open_run(trial, run.with_name(f"{run.name}-trial"), job.device)
    trainer.steps_per_epoch = 2 if job.tiny else 30
    train, _ = loaders(trial)
    warm = time.monotonic()
    trainer.train_one_epoch(train, 0)
    per_step = (time.monotonic() - warm) / trainer.steps_per_epoch
    left = seconds - (time.monotonic() - start)
    steps = max(len(photos["train"]) // config.batch_size, 1)
    epochs = max(1, int(0.85 * left / (steps * per_step)))  # the rest is for validation
    planned = replace(config, epochs=epochs, patience=None)
    print(f"{run.name}: {1 / per_step:.1f} steps/s, {epochs} epochs", flush=True)
    trainer = open_run(planned, run, job.device)
    trainer.fit(*loaders(planned), progress=False, callbacks=[Deadline(left)])
    return trainer


def train_released(job: Job, seconds: float) -> None:
    """Train the released model, and save its weights in half precision with its log."""
    photos, decoded = _photos(job)
    config = replace(_released_config(job, job.weights), init_from=job.init_from, lr=1e-3)
    run = job.work / "released"
    train_for(config, photos, decoded, run, job, seconds)
    with _folder(job) as path:
        model = load(run)
        save(model, path / "model", model_card(model))
        shutil.copyfile(path / "model" / WEIGHTS, job.out / "released.safetensors")
    shutil.copyfile(run / "log.jsonl", job.out / "released.jsonl")


def _released_config(job: Job, weights: str | None) -> TrainConfig:
    """The last stage of the release, with larger batches."""
    kwargs = {**STAGES[-1].model_kwargs, "encoder_weights": weights}
    if job.tiny:
        return replace(STAGES[-1], model_kwargs={**kwargs, "width": 16}, crop_size=32, batch_size=4)
    return replace(STAGES[-1], model_kwargs=kwargs, crop_size=128, batch_size=128)


def train_attempts(job: Job, seconds: float) -> None:
    """Train and evaluate the three attempts; colorized photos, logs and tables go into a tar."""
    photos, decoded = _photos(job)
    files: list[tuple[str, bytes]] = []
    predictors = []
    for name in ("autoencoder", "fcn", "unet_gan"):
        if job.tiny:
            config = _quick_config(f"{name}_quick", crop_size=32, batch_size=4)
            if name == "unet_gan":
                config = replace(config, model_kwargs={"depth": 3, "base_channels": 8})
        else:
            preset = colorize.PRESETS[name]
            kwargs = dict(preset.model_kwargs)
            if "encoder_weights" in kwargs:
                kwargs["encoder_weights"] = None
            # 128 px halve seven times.
            kwargs |= {"depth": 7} if name == "unet_gan" else {}
            config = replace(preset, crop_size=128, batch_size=64, model_kwargs=kwargs)
        run = job.work / name
        train_for(config, photos, decoded, run, job, seconds / 4)
        predictor = ModelPredictor(run, job.device, name)
        predictors.append(predictor)
        files.append((f"{name}/log.jsonl", (run / "log.jsonl").read_bytes()))
        for photo in colorize.load_samples().select("test").photos:
            buffer = io.BytesIO()
            predictor.colorizer(colorize.read_photo(photo.path)).save(buffer, "JPEG", quality=90)
            files.append((f"{name}/{photo.id}.jpg", buffer.getvalue()))
        _write_tar(job.out / "attempts.tar", files)
    tests = photos["test"][: 4 if job.tiny else None]
    size = 32 if job.tiny else TEST_SIDE
    reference = TrainingReference(photos["train"][:2000], progress=False)
    results = evaluate(
        [*predictors, *baselines(reference)],
        tests,
        size,
        job.work / "scores",
        perceptual=False,
        full_size=False,
        progress=False,
    )
    text = table(Summary(results), (*ERROR_COLUMNS, "colorfulness"))
    print(text)
    with atomic_write(job.out / "attempts.md") as tmp:
        tmp.write_text(text + "\n")


def measure_speed(job: Job, seconds: float) -> None:
    """Measure a step of the released model: speed, share of the peak, idle share, memory."""
    photos, decoded = _photos(job)
    config = _released_config(job, None)
    size, batch = config.crop_size, config.batch_size
    results: dict[str, Any] = {"device": _device_name(job), "crop_size": size, "batch_size": batch}
    with _folder(job) as path:
        trainer = open_run(config, path / "run", job.device)
        settings = ExampleSettings.from_config(config)
        workers = 0 if job.tiny else 8
        loader = DeviceLoader(
            photos["train"], decoded, size, batch, workers=workers, settings=settings
        )
        loader.set_epoch(0)
        examples = iter(loader)
        fixed = trainer.make_micro_batch(next(examples))
        results["photos_per_second"] = _rate(
            lambda: trainer.training_step([trainer.make_micro_batch(next(examples))]), batch, job
        )
        results["photos_per_second_without_loading"] = _rate(
            lambda: trainer.training_step([fixed]), batch, job
        )
        ratio = results["photos_per_second"] / results["photos_per_second_without_loading"]
        results["idle_share"] = round(max(0.0, 1 - ratio), 3)
        macs = colorize.models.model_summary(config.model, config.model_kwargs, size)[1]
        # Forward and backward are three times the forward pass, a MAC two operations.
        results["tflops"] = round(6 * macs * results["photos_per_second"] / 1e12, 2)
        if job.device.startswith("cuda"):
            results["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    print(json.dumps(results), flush=True)
    _write_json(job.out / "speed.json", results)


def _rate(step: Callable[[], object], batch: int, job: Job) -> float:
    """Photos per second of a step."""
    warm, count = (1, 1) if job.tiny else (5, 40)
    for _ in range(warm):
        step()
    _wait(job)
    start = time.perf_counter()
    for _ in range(count):
        step()
    _wait(job)
    return round(batch * count / (time.perf_counter() - start), 1)


def _wait(job: Job) -> None:
    if job.device.startswith("cuda"):
        torch.cuda.synchronize()


def _device_name(job: Job) -> str:
    return torch.cuda.get_device_name() if job.device.startswith("cuda") else job.device


_CACHE: dict[Path, tuple[dict[str, Sequence[InspectedPhoto]], DevicePhotos]] = {}


def _photos(job: Job) -> tuple[dict[str, Sequence[InspectedPhoto]], DevicePhotos]:
    """Return the photos of each split, and those for training on the device; decoded once."""
    if job.data not in _CACHE:
        folder = PhotoFolder(job.data)
        side = 32 if job.tiny else 128
        photos = {
            split: folder.select(split, min_side=side).photos for split in ("train", "val", "test")
        }
        photos["val"] = photos["val"][: 8 if job.tiny else 256]
        device = torch.device(job.device)
        _CACHE[job.data] = photos, DevicePhotos(photos["train"], device)
    return _CACHE[job.data]


def _write_json(path: Path, values: object) -> None:
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(values, indent=1) + "\n")


def run(job: Job, minutes: float, only: str | None) -> int:
    """Run the parts, each with its share of the time; one that fails does not stop the others."""
    scale = 60 * minutes / sum(SHARES.values()) if only is None else 60 * minutes / SHARES[only]
    functions: dict[str, Callable[[Job, float], object]] = {
        "checks": run_checks,
        "released": train_released,
        "attempts": train_attempts,
        "speed": measure_speed,
    }
    failed = []
    for step in PARTS if only is None else (only,):
        print(f"== {step}", flush=True)
        try:
            functions[step](job, SHARES[step] * scale)
        except Exception:  # what comes after is worth more than an early end
            traceback.print_exc()
            with atomic_write(job.out / f"{step}-failed.txt") as tmp:
                tmp.write_text(traceback.format_exc())
            failed.append(step)
    print("failed: " + ", ".join(failed) if failed else "all parts finished")
    return 1 if failed else 0


def main() -> int:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("command", choices=("pack", "run"))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=9.0, metavar="M")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", metavar="FILE", help="ImageNet weights of MobileNetV2")
    parser.add_argument("--init-from", metavar="MODEL", help="a model to continue from")
    parser.add_argument("--work", type=Path, metavar="DIR", help="for runs (default: temporary)")
    parser.add_argument("--tiny", action="store_true", help="tiny models and photos, for a try")
    args = parser.parse_args()
    if args.command == "pack":
        pack(args.data, args.out)
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    work = args.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    data = unpack(args.data, work / "photos")
    job = Job(data, args.out, work, args.device, args.weights, args.init_from, args.tiny)
    return run(job, args.minutes, args.only)


if __name__ == "__main__":
    sys.exit(main())
