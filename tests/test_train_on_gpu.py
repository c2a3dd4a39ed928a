"""The program for a quarter of an hour with a GPU, tried at a tiny size on the CPU."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import make_folder

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "train_on_gpu.py"
# What a machine with a GPU may lack.
ABSENT = ("imagecodecs", "tifffile", "requests", "urllib3", "simplejpeg", "av", "gradio", "onnx")
BLOCKED = f"""
import runpy, sys
for name in {ABSENT}:
    sys.modules[name] = None  # to import it raises ImportError
sys.path.insert(0, {str(SCRIPT.parent)!r})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*words):
    command = [sys.executable, "-c", BLOCKED, str(SCRIPT), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_packed_photos_keep_their_splits_and_the_listed_ones_are_for_validation(tmp_path):
    data = make_folder(tmp_path / "photos", train=3, val=2, test=1)
    run("pack", "--data", data, "--out", tmp_path / "packed")
    with tarfile.open(tmp_path / "packed" / "photos-00.tar") as tar:
        splits = sorted(name.split("/")[0] for name in tar.getnames())
    assert splits == ["test", "train", "train", "train", "val", "val"]

    listed = (ROOT / "report/results/release/validation.txt").read_text().split()[0]
    (data / "train" / "train0.jpg").rename(data / "train" / f"{listed}.jpg")
    run("pack", "--data", data, "--out", tmp_path / "packed")
    with tarfile.open(tmp_path / "packed" / "photos-00.tar") as tar:
        names = tar.getnames()
    assert [name.startswith("val/") for name in names if listed in name] == [True]
    assert sum(name.startswith("train/") for name in names) == 4


@pytest.mark.slow
def test_every_part_runs_at_a_tiny_size_with_the_packages_of_a_machine_with_a_gpu(tmp_path):
    data = make_folder(tmp_path / "photos", train=12, val=4, test=3)
    run("pack", "--data", data, "--out", tmp_path / "packed")
    out = tmp_path / "out"
    words = ("--device", "cpu", "--tiny", "--minutes", "0.3")
    run("run", "--data", tmp_path / "packed", "--out", out, *words)
    checks = json.loads((out / "checks.json").read_text())
    assert checks and not any("FAILED" in str(check) for check in checks.values())
    files = {path.name: path.stat().st_size for path in out.iterdir()}
    assert files.keys() == {
        *("checks.json", "released.jsonl", "released.safetensors"),
        *("attempts.md", "attempts.tar", "speed.json"),
    }
    assert len(files) <= 8 and max(files.values()) < 15e6
    assert "mean-ab" in (out / "attempts.md").read_text()
