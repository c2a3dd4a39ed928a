import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import make_folder
from fake_unsplash import FakeUnsplash
from PIL import Image

from colorize.data.folder import split_of

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "colorize.ipynb"
RUN_NOTEBOOK = ROOT / "scripts" / "run_notebook.py"

# Runs at the start of every Python process with it on its path: blocks all but the loopback.
BLOCKER = """
import os, socket
def refuse(what):
    with open(os.environ["BLOCKED_LOG"], "a") as log:
        log.write(f"{what}\\n")
    raise OSError(f"the test blocks {what}")
def is_local(host):
    return host in (None, "", "localhost") or str(host).startswith("127.") or host == "::1"
connect, resolve = socket.socket.connect, socket.getaddrinfo
def checked_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
        refuse(address)
    return connect(self, address)
def checked_resolve(host, *args, **kwargs):
    if not is_local(host):
        refuse(host)
    return resolve(host, *args, **kwargs)
socket.socket.connect, socket.getaddrinfo = checked_connect, checked_resolve
"""


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_stored_outputs_come_from_one_clean_run(stored):
    counts = [cell.execution_count for cell in code_cells(stored)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output.output_type for cell in code_cells(stored) for output in cell.outputs}
    assert "error" not in kinds
    assert sum("image/jpeg" in str(cell.outputs) for cell in code_cells(stored)) >= 8


def test_the_notebook_is_small_and_readable_everywhere(stored):
    assert NOTEBOOK.stat().st_size < 3_000_000
    assert "widgets" not in stored.metadata
    for cell in code_cells(stored):
        assert not cell.source.lstrip().startswith(("!", "%")), "runs as a plain script too"
        assert len(cell.source.splitlines()) <= 12
        assert "class " not in cell.source
        assert "def " not in cell.source


def test_one_cell_holds_the_parameters_and_asks_for_the_quick_profile(stored):
    tagged = [cell for cell in stored.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert 'PROFILE = "quick"' in tagged[0].source


def test_no_path_of_a_machine_is_stored():
    text = NOTEBOOK.read_text()
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


@pytest.mark.slow
def test_the_quick_notebook_runs_twice_without_a_network(tmp_path):
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    log = tmp_path / "blocked.log"
    log.touch()
    place = tmp_path / "elsewhere"
    place.mkdir()
    source = place / "colorize.ipynb"
    source.write_text(NOTEBOOK.read_text())
    environment = os.environ | {
        "PYTHONPATH": f"{blocker}{os.pathsep}{ROOT}",
        "BLOCKED_LOG": str(log),
    }

    def execute(target):
        command = [sys.executable, RUN_NOTEBOOK, source, target]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    execute(place / "first.ipynb")
    runs = sorted(place.glob("runs/quick/*/last.pt"))
    assert len(runs) == 3
    written = {path: path.stat().st_mtime_ns for path in runs}
    execute(place / "second.ipynb")
    assert written == {path: path.stat().st_mtime_ns for path in runs}, "a run was repeated"
    names = {path.name for path in place.glob("output/figures/*")}
    panels = {"autoencoder_result.jpg", "fcn_result.jpg", "gan_result.jpg"}
    assert panels | {"comparison.jpg", "val_loss.png"} <= names
    assert log.read_text() == ""


@pytest.mark.slow
def test_the_full_profile_runs_from_the_catalog_on(tmp_path):
    """The main use, small: two steps of each attempt at 64 px, on generated photos."""
    with FakeUnsplash(30) as servers:
        people = [servers.row(photo_id)["photographer_username"] for photo_id in servers.ids]
        batch = sum(split_of(person) == "train" for person in people) // 2
        small = {"crop_size": 64, "epochs": 1, "batch_size": batch}
        none = {"model_kwargs": {"encoder_name": "resnet18", "encoder_weights": None}}
        unet = {"model_kwargs": {"depth": 4, "base_channels": 8}}
        changes = {"autoencoder": small | none, "fcn": small | none, "unet_gan": small | unet}
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        for old, new in (
            ('PROFILE = "quick"', 'PROFILE = "full"'),
            ("ACCEPT_TERMS = False", "ACCEPT_TERMS = True"),
            ("CHANGES = {}", f"CHANGES = {changes}"),
        ):
            assert old in cell.source
            cell.source = cell.source.replace(old, new)
        (cell,) = (cell for cell in notebook.cells if "UnsplashLite(DATA)" in cell.source)
        hosts = f"unsplash.{servers.hosts!r}"
        cell.source = cell.source.replace(
            "UnsplashLite(DATA)", f"UnsplashLite(DATA, hosts={hosts})"
        )
        source = tmp_path / "colorize.ipynb"
        nbformat.write(notebook, source)
        for name in ("first.ipynb", "second.ipynb"):
            command = [sys.executable, RUN_NOTEBOOK, source, tmp_path / name]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            requests = sum(servers.requests.values())
            assert requests == 32  # the archive, its redirect, and each photo once
    for name in ("autoencoder", "fcn", "unet_gan"):
        (line,) = (tmp_path / "runs/full" / name / "log.jsonl").read_text().splitlines()
        assert json.loads(line)["steps"] == 2
    assert "30 good" in (tmp_path / "first.ipynb").read_text()


FRESH = (
    """\
from pathlib import Path
from colorize.config import TrainConfig
from colorize.data import LabDataset, PhotoFolder, UnsplashLite
from colorize.data.loaders import eval_loader, train_loader
from colorize.inference import Colorizer
from colorize.io import read_photo
from colorize.models import (
    PatchDiscriminator, ResNetAutoencoder, ResNetFCN, UNetGAN, UNetGenerator, create_model
)
from colorize.trainers import ClassificationTrainer, GANTrainer, RegressionTrainer
from colorize.visualization import save_figure, triptychs""",
    """\
photos = PhotoFolder("photos")
train, val = photos.select("train", min_side=32).photos, photos.select("val", min_side=32).photos
lightness, ab = LabDataset(train, 32)[0]
assert len(train) == 2 and lightness.shape == (1, 32, 32) and ab.shape == (2, 32, 32)
assert UNetGenerator(depth=5, base_channels=4)(lightness[None]).shape == (1, 2, 32, 32)
assert PatchDiscriminator(base_channels=4)(lightness[None], ab[None]).shape[:2] == (1, 1)
attempts = {
    "autoencoder": (RegressionTrainer, ResNetAutoencoder("resnet18"), {}),
    "fcn": (RegressionTrainer, ResNetFCN("resnet18"), {}),
    "gan": (GANTrainer, UNetGAN(depth=5, base_channels=4),
            {"gan_loss": "vanilla", "reconstruction_loss": "l1", "reconstruction_weight": 100.0}),
    "classifier": (ClassificationTrainer,
                   create_model("color_classifier", encoder_name="resnet18", width=16),
                   {"reconstruction_loss": "rebalanced_cross_entropy"}),
}""",
    """\
names = {"autoencoder": "resnet_autoencoder", "fcn": "resnet_fcn", "gan": "unet_gan",
         "classifier": "color_classifier"}
kwargs = {"gan": {"depth": 5, "base_channels": 4},
          "classifier": {"encoder_name": "resnet18", "width": 16}}
targets = [read_photo(photo.path) for photo in train]
for name, (Trainer, model, settings) in attempts.items():
    config = TrainConfig(names[name], kwargs.get(name, {"encoder_name": "resnet18"}),
                         crop_size=32, batch_size=2, epochs=2, **settings)
    trainer = Trainer(model, config, f"runs/{name}", "cpu")
    trainer.fit(train_loader(train, 32, 2), eval_loader(val, 32, 2), progress=False)
    assert trainer.global_step == 2
    colorizer = Colorizer.from_pretrained(f"runs/{name}", "cpu")
    save_figure(triptychs([colorizer(photo) for photo in targets], targets), f"{name}.jpg")""",
)


@pytest.mark.slow
def test_a_fresh_notebook_in_another_folder_trains_every_attempt(tmp_path):
    make_folder(tmp_path / "photos", train=2, val=1)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in FRESH])
    source = tmp_path / "fresh.ipynb"
    nbformat.write(notebook, source)
    command = [sys.executable, RUN_NOTEBOOK, source, tmp_path / "done.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("autoencoder", "fcn", "gan", "classifier"):
        with Image.open(tmp_path / f"{name}.jpg") as figure:  # two rows of three photos
            assert figure.width > 600 and figure.height > 350


def test_the_blocker_blocks(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    log = tmp_path / "log"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "BLOCKED_LOG": str(log)}
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode != 0
    assert "192.0.2.1" in log.read_text()
