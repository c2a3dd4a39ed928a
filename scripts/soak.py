"""Kill at random moments, and see that nothing is lost: python scripts/soak.py download.

    download    a download from a loopback stand-in, killed with SIGKILL, 50 times
    train       a tiny training run, killed with SIGKILL and SIGTERM in turn, 100 times, and
                compared with one that was left alone

Bounded in kills and in time; ends with a line of numbers, and fails loudly.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tqdm import tqdm

from colorize.data.manifest import Manifest

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fake_unsplash import FakeUnsplash, make_jpeg

# A process that downloads from the servers whose address and folder it is given.
DOWNLOAD = """
import sys
from colorize.data.unsplash.download import Hosts, UnsplashLite
origin, folder = sys.argv[1:]
hosts = Hosts(origin + "/data/{version}", (origin,), origin)
lite = UnsplashLite(folder, size=64, hosts=hosts)
lite.accept_terms()
print("begins", flush=True)
print(lite.download(progress=False))
"""


def soak_download(kills: int, seed: int, count: int = 3000) -> str:
    """Kill a download again and again, look at every file after each kill, and let it end."""
    lot = random.Random(seed)
    kinds = {f"id-{number:05}": "404" for number in range(0, count, 100)}
    kinds |= {f"id-{number:05}": "cut" for number in range(1, count, 50)}
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeUnsplash(count, kinds, latency=0.03) as servers,
    ):
        known: dict[Path, str] = {}
        for _ in tqdm(range(kills), desc="kills"):
            command = [sys.executable, "-c", DOWNLOAD, servers.origin, folder]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            process.stdout.readline()  # it begins
            time.sleep(lot.uniform(0, 0.5))
            process.kill()
            process.communicate()
            known = look(Path(folder), known)
        done = len(Manifest(folder).entries)
        if done >= count:
            raise AssertionError("the download ended before the kills did: make it longer")
        subprocess.run(command, check=True, capture_output=True)
        look(Path(folder), known)
        manifest = Manifest(folder)
        good = manifest.counts()["good"]
        gone = manifest.counts()["gone"]
        lost = set(servers.ids) - manifest.entries.keys()
        if lost or (good, gone) != (count - count // 100, count // 100):
            raise AssertionError(f"{len(lost)} lost; {manifest}")
        twice = sum(times - 1 for times in servers.photo_requests().values()) - count // 50
    return (
        f"{kills} kills, {done} of {count} photos were known at the last; in the end {manifest}; "
        f"{twice} photos were asked for again because a kill cut them"
    )


# A process that trains; its files are named on the command line.
TRAIN = """
import sys
from colorize.cli import main
print("begins", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def soak_train(kills: int, seed: int) -> str:
    """Kill a run again and again, let it end, and compare all that it learned."""
    lot = random.Random(seed)
    settings = "train unet_gan --crop-size 32 --batch-size 2 --model-arg depth=3 --ema-decay 0.9 --grad-clip 1"
    settings += f" --model-arg base_channels=4 --epochs {20 * kills} --save-minutes 0 --workers 1"
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        for number in range(23):
            path = photos / ("train" if number < 20 else "val") / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_jpeg(f"{number}", 96, 64))

        def command(run: str) -> list[str]:
            words = [*settings.split(), "--data", str(photos), "-o", str(Path(name, run))]
            return [sys.executable, "-c", TRAIN, *words, "--device", "cpu"]

        subprocess.run(command("whole"), check=True, capture_output=True)
        statuses = set()
        for number in tqdm(range(kills), desc="kills"):
            process = subprocess.Popen(
                command("killed"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            process.stdout.readline()  # it begins
            time.sleep(lot.uniform(2, 7))  # it imports for some seconds
            process.kill() if number % 2 else process.terminate()
            process.communicate()
            statuses.add(process.returncode)
        if 0 in statuses:
            raise AssertionError("the run ended before the kills did: make it longer")
        subprocess.run(command("killed"), check=True, capture_output=True)
        whole, killed = (
            torch.load(Path(name, run, "last.pt"), weights_only=True) for run in ("whole", "killed")
        )
        different = [
            key
            for part in ("model", "average")
            for key, value in whole[part].items()
            if not torch.equal(value, killed[part][key])
        ]
        logs = [
            [(record["steps"], record["train"], record["val"]) for record in state["history"]]
            for state in (whole, killed)
        ]
        if different or logs[0] != logs[1]:
            pairs = zip(*logs, strict=True)
            unlike = next(((one, other) for one, other in pairs if one != other), None)
            raise AssertionError(f"{len(different)} tensors differ; the logs: {unlike}")
    steps, statuses = whole["steps"], sorted(statuses)
    return f"{kills} kills, statuses {statuses}: after {steps} steps weights and log are the same"


def look(folder: Path, known: dict[Path, str]) -> dict[Path, str]:
    """Every file under a final name is whole, and none that was there has changed or gone."""
    found = {}
    for path in folder.glob("photos/*/*.jpg"):
        if path.name.startswith("."):  # being written when it was killed
            continue
        data = path.read_bytes()
        portrait = int(path.stem[-5:]) % 3 == 0
        width, height = (64, 96) if portrait else (96, 64)
        if data != make_jpeg(path.stem, width, height):
            raise AssertionError(f"{path} is not what was sent")
        found[path] = hashlib.sha256(data).hexdigest()
    missing = [path for path in known if found.get(path) != known[path]]
    if missing:
        raise AssertionError(f"{len(missing)} photos were lost or changed, such as {missing[0]}")
    return found


def main() -> None:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("what", choices=("download", "train"))
    parser.add_argument("--kills", type=int, help="50 downloads, 100 training runs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what == "download":
        print(soak_download(args.kills or 50, args.seed))
    else:
        print(soak_train(args.kills or 100, args.seed))


if __name__ == "__main__":
    main()
