"""Overfit every method on four photos, as a test of the trainers: python scripts/overfit.py.

A method that cannot overfit four photos cannot learn any. All quick presets get the same four
embedded photos at 64 px, without augmentation, for the same number of steps; phases are left out.
Writes `report/overfit.jpg`, the predictions beside the ground truth, and `overfit.json`
with the numbers.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.dataset import Example, ExampleSettings, collate_examples, make_example
from colorize.data.folder import load_samples
from colorize.data.loaders import eval_loader
from colorize.io.image import rgb_to_photo
from colorize.metrics.image import ab_error
from colorize.presets import PRESETS
from colorize.trainers import ClassificationTrainer, open_run
from colorize.utils.files import atomic_write
from colorize.utils.seed import seeded_generator
from colorize.visualization import comparison, save_figure

REPORT = Path(__file__).parents[1] / "report"
QUICK = [name for name in PRESETS if name.endswith("_quick")]


def overfit(preset: str, steps: int) -> dict:
    """Train on the same four photos for so many steps; returns the result in CIELAB units."""
    config = dataclasses.replace(
        PRESETS[preset],
        ema_decay=None,
        patience=None,
        phases=None,
        selection_interval=None,
        degradation_prob=0.0,
    )
    photos = four_photos(config.crop_size)
    with tempfile.TemporaryDirectory() as run:
        trainer = open_run(config, run, "cpu")
    if isinstance(trainer, ClassificationTrainer):
        trainer.set_class_weights([photos])
    trainer.model.train()
    seconds = []
    for trainer.global_step in range(steps):
        example = four_examples(photos, config, trainer.global_step)
        start = time.perf_counter()
        trainer.training_step([trainer.make_micro_batch(example)])
        seconds.append(time.perf_counter() - start)
    lightness, target_ab = rgb_to_lab(photos)
    with torch.no_grad():
        pred_ab = trainer.model.eval()(lightness)
    return {
        "preset": preset,
        "ab_error": ab_error(pred_ab, target_ab).mean().item(),
        "gray": ab_error(torch.zeros_like(target_ab), target_ab).mean().item(),
        "ms_per_step": statistics.median(seconds) * 1000,
        "colorized": to_uint8(lab_to_rgb(lightness, pred_ab)),
    }


def four_photos(size: int) -> Tensor:
    """Read the first four embedded training photos, uint8 (4, 3, size, size)."""
    photos = load_samples().select("train").photos[:4]
    return next(iter(eval_loader(photos, size, 4)))


def four_examples(photos: Tensor, config: TrainConfig, step: int) -> Example:
    """Return the photos with the hints of a step, where the settings ask for hints."""
    settings = ExampleSettings.from_config(config)
    return collate_examples(
        [
            make_example(rgb, settings, seeded_generator(config.seed, step, index))
            for index, rgb in enumerate(photos)
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    results = [overfit(name, args.steps) for name in tqdm(QUICK, desc="methods")]
    columns = {
        f"{result['preset'].removesuffix('_quick')}\n{result['ab_error']:.1f}": [
            rgb_to_photo(rgb) for rgb in result.pop("colorized")
        ]
        for result in results
    }
    targets = [rgb_to_photo(rgb) for rgb in four_photos(64)]
    save_figure(comparison(columns, targets), REPORT / "overfit.jpg")
    with atomic_write(REPORT / "results" / "overfit.json") as tmp:
        tmp.write_text(json.dumps({"steps": args.steps, "rows": results}, indent=2) + "\n")
    for result in results:
        print(
            f"{result['preset']:<22} {result['ab_error']:6.2f} of {result['gray']:.2f}, "
            f"{result['ms_per_step']:.0f} ms a step"
        )


if __name__ == "__main__":
    main()
