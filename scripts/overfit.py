"""Let every method learn four photos by heart: python scripts/overfit.py.

What cannot learn four photos cannot learn any. All quick presets see the same four embedded
photos at 64 px, without augmentation, for the same number of steps; phases are left out. Writes
`report/results/overfit.jpg`, the paintings beside the truth, and `overfit.json` with the numbers.
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
from colorize.data.folder import load_samples
from colorize.data.loaders import eval_loader
from colorize.io.image import rgb_to_photo
from colorize.metrics.image import ab_error
from colorize.presets import PRESETS
from colorize.trainers import open_run
from colorize.utils.files import atomic_write
from colorize.visualization import comparison, save_figure

REPORT = Path(__file__).parents[1] / "report"
QUICK = [name for name in PRESETS if name.endswith("_quick")]


def learn_by_heart(preset: str, steps: int) -> dict:
    """Take so many steps on the same four photos; what came of it, in CIELAB units."""
    config = dataclasses.replace(
        PRESETS[preset],
        **{
            "ema": None,
            "patience": None,
            "phases": None,
            "selection_interval": None,
            "degradation_prob": 0.0,
        },
    )
    photos = four_photos(config.crop_size)
    with tempfile.TemporaryDirectory() as run:
        trainer = open_run(config, run, "cpu")
    lightness, ab = rgb_to_lab(photos)
    if trainer.model.predicts_distribution:
        trainer.weigh([photos])
    trainer.model.train()
    trainer.crops, seconds = 0, []
    for trainer.steps in range(steps):
        trainer.done = trainer.steps  # by which hints are drawn
        start = time.perf_counter()
        trainer.step([trainer.batch(photos, number=0, last=True)])
        seconds.append(time.perf_counter() - start)
    with torch.no_grad():
        painted = trainer.model.eval()(lightness)
    return {
        "preset": preset,
        "ab_error": ab_error(painted, ab).mean().item(),
        "grey": ab_error(torch.zeros_like(ab), ab).mean().item(),
        "ms_per_step": statistics.median(seconds) * 1000,
        "painted": to_uint8(lab_to_rgb(lightness, painted)),
    }


def four_photos(size: int) -> Tensor:
    """The first four embedded training photos, uint8 (4, 3, size, size)."""
    photos = load_samples().select("train").photos[:4]
    return next(iter(eval_loader(photos, size, 4)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    results = [learn_by_heart(name, args.steps) for name in tqdm(QUICK, desc="methods")]
    paintings = {
        f"{result['preset'].removesuffix('_quick')}\n{result['ab_error']:.1f}": [
            rgb_to_photo(rgb) for rgb in result.pop("painted")
        ]
        for result in results
    }
    truths = [rgb_to_photo(rgb) for rgb in four_photos(64)]
    save_figure(comparison(paintings, truths), REPORT / "results" / "overfit.jpg")
    with atomic_write(REPORT / "results" / "overfit.json") as part:
        part.write_text(json.dumps({"steps": args.steps, "rows": results}, indent=2) + "\n")
    for row in results:
        print(f"{row['preset']:<22} {row['ab_error']:6.2f} of {row['grey']:.2f}, "
              f"{row['ms_per_step']:.0f} ms a step")  # fmt: skip


if __name__ == "__main__":
    main()
