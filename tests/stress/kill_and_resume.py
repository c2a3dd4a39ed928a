"""Kill at random moments, and check that nothing is lost: kill_and_resume.py download|train.

    download    a download from fake servers, killed with SIGKILL, 50 times
    train       a tiny training, killed with SIGKILL and SIGTERM in turn, 100 times, and compared
                with one that was never interrupted

Bounded in kills and in time. Prints a line of numbers, or fails.
"""

import argparse
import hashlib
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_unsplash import FakeUnsplash, make_jpeg

import colorize.trainers  # noqa: F401 - before processes are forked, so that they start at once
from colorize.cli import main as colorize_command
from colorize.data.manifest import Manifest

# A process that downloads from the servers whose address and folder it is given.
DOWNLOAD = """
import sys
from colorize.data.unsplash import Hosts, UnsplashLite
origin, folder = sys.argv[1:]
hosts = Hosts(origin + "/data/{version}", (origin,), origin)
lite = UnsplashLite(folder, size=64, hosts=hosts)
lite.accept_terms()
print("begins", flush=True)
print(lite.download(progress=False))
"""


def kill_downloads(kills: int, seed: int, count: int = 3000) -> str:
    """Kill a download again and again, check every file after each kill, and let it end."""
    rng = random.Random(seed)
    faults = {f"id-{number:05}": "404" for number in range(0, count, 100)}
    faults |= {f"id-{number:05}": "cut" for number in range(1, count, 50)}
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeUnsplash(count, faults, latency=0.03) as servers,
    ):
        digests: dict[Path, str] = {}
        command = [sys.executable, "-c", DOWNLOAD, servers.origin, folder]
        for _ in tqdm(range(kills), desc="kills"):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            process.stdout.readline()  # it begins
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
            process.communicate()
            digests = check_files(Path(folder), digests)
        done = len(Manifest(folder).entries)
        if done >= count:
            raise AssertionError("the download ended before the kills did: make it longer")
        subprocess.run(command, check=True, capture_output=True)
        check_files(Path(folder), digests)
        manifest = Manifest(folder)
        good, gone = manifest.counts()["good"], manifest.counts()["gone"]
        lost = set(servers.ids) - manifest.entries.keys()
        if lost or (good, gone) != (count - count // 100, count // 100):
            raise AssertionError(f"{len(lost)} lost; {manifest}")
        repeated = sum(times - 1 for times in servers.photo_requests().values()) - count // 50
    return (
        f"{kills} kills, {done} of {count} photos were done at the last; in the end {manifest}; "
        f"{repeated} photos were requested again because a kill cut them"
    )


def check_files(folder: Path, digests: dict[Path, str]) -> dict[Path, str]:
    """Check that every photo is complete, and that none of the earlier ones changed or is gone."""
    found = {}
    for path in folder.glob("photos/*/*.jpg"):
        if path.name.startswith("."):  # being written when it was killed
            continue
        data = path.read_bytes()
        is_portrait = int(path.stem[-5:]) % 3 == 0
        width, height = (64, 96) if is_portrait else (96, 64)
        if data != make_jpeg(path.stem, width, height):
            raise AssertionError(f"{path} is not what was sent")
        found[path] = hashlib.sha256(data).hexdigest()
    missing = [path for path in digests if found.get(path) != digests[path]]
    if missing:
        raise AssertionError(f"{len(missing)} photos were lost or changed, such as {missing[0]}")
    return found


def kill_trainings(kills: int, seed: int, epochs: int) -> str:
    """Kill a run again and again, let it end, and compare all its weights and its log."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        for number in range(23):
            path = photos / ("train" if number < 20 else "val") / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_jpeg(f"{number}", 96, 64))
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        uninterrupted = start_training(photos, whole, epochs, save_minutes=10)
        statuses = set()
        for number in tqdm(range(kills), desc="kills"):
            process = start_training(photos, killed, epochs)
            time.sleep(rng.uniform(0.1, 1.5))
            process.kill() if number % 2 else process.terminate()
            process.join()
            statuses.add(process.exitcode)
        if 0 in statuses:
            raise AssertionError("the run ended before the kills did: make it longer")
        last = start_training(photos, killed, epochs, save_minutes=10)
        for process in (last, uninterrupted):
            process.join()
            if process.exitcode:
                raise AssertionError(f"a run ended with status {process.exitcode}")
        steps = compare_runs(whole, killed)
    return (
        f"{kills} kills, statuses {sorted(statuses)}: after {steps} steps weights and log are equal"
    )


def start_training(
    photos: Path, run: Path, epochs: int, save_minutes: float = 0
) -> multiprocessing.Process:
    """Start `colorize train` in a process of its own; by default it saves after every step."""
    arguments = (
        f"train unet_gan --crop-size 32 --batch-size 2 --epochs {epochs} --ema-decay 0.9 "
        "--grad-clip 1 --model-arg depth=3 --model-arg base_channels=4 --workers 1 --device cpu "
        f"--save-minutes {save_minutes} --data {photos} -o {run}"
    )
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_train, args=(arguments.split(), Path(f"{run}.log")))
    process.start()
    return process


def _train(arguments: list[str], log: Path) -> None:
    torch.set_num_threads(1)
    with open(log, "a") as file:
        sys.stdout = sys.stderr = file
        sys.exit(colorize_command(arguments))


def compare_runs(whole: Path, killed: Path) -> int:
    """Check that two runs ended with equal weights and logs; returns the number of steps."""
    states = [torch.load(run / "last.pt", weights_only=True) for run in (whole, killed)]
    expected, result = states
    different = [
        name
        for key in ("model", "ema")
        for name, value in expected[key].items()
        if not torch.equal(value, result[key][name])
    ]
    logs = [
        [(record["steps"], record["train"], record["val"]) for record in state["history"]]
        for state in states
    ]
    if different or logs[0] != logs[1]:
        pairs = zip(*logs, strict=True)
        first = next((pair for pair in pairs if pair[0] != pair[1]), None)
        raise AssertionError(f"{len(different)} tensors differ; the logs: {first}")
    return expected["global_step"]


def main() -> None:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("what", choices=("download", "train"))
    parser.add_argument("--kills", type=int, help="default: 50 downloads, 100 trainings")
    parser.add_argument("--epochs", type=int, help="of the training (default: 6 for each kill)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what == "download":
        print(kill_downloads(args.kills or 50, args.seed))
    else:
        kills = args.kills or 100
        print(kill_trainings(kills, args.seed, args.epochs or 6 * kills))


if __name__ == "__main__":
    main()
