import contextlib
import dataclasses
import json
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import ResNet, ResNet18_Weights
from torchvision.models._api import register_model
from torchvision.models.resnet import BasicBlock

import colorize.data.unsplash.catalog as catalog
import colorize.data.unsplash.download as unsplash
from colorize.data.dataset import PLAIN, ExampleSettings
from colorize.data.folder import PhotoFolder
from colorize.data.loaders import eval_loader, train_loader
from colorize.io.image import write_photo
from colorize.models import ColorizationModel, create_model, pretrained
from colorize.trainers import open_run


class _Narrow(ResNet):
    def _make_layer(self, block, planes, *args, **options):
        return super()._make_layer(block, planes // 8, *args, **options)


_Narrow.__name__ = "ResNet"  # by which its family is known


def resnet_narrow(*, weights: ResNet18_Weights | None = None):
    """A ResNet of half as many blocks as resnet18 and an eighth of its channels.

    Where a test is about a run and not about the network: resnet18's checkpoints have 180 MB.
    """
    return _Narrow(BasicBlock, [1, 1, 1, 1], num_classes=10)


resnet_narrow.__module__ = "torchvision.models.resnet"  # where the names of networks are looked up
register_model()(resnet_narrow)


@pytest.fixture(autouse=True)
def _repeatable():
    torch.manual_seed(0)
    # Two threads on tensors as small as the tests' wait for each other, minutes where it is busy.
    torch.set_num_threads(1)
    before = _torch_modes()
    yield
    assert _torch_modes() == before, "the library leaves the process's modes as they were"


def _torch_modes():
    return (
        torch.get_deterministic_debug_mode(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )


class Fake(ColorizationModel):
    """A network that paints by a rule and remembers what it was shown."""

    size_divisibility, supports_hints = 8, False

    def __init__(self, rule=lambda lightness: 0.0):
        super().__init__()
        self.rule, self.seen = rule, []

    def __deepcopy__(self, memo):
        return self  # so that a test sees what a `Colorizer` has shown to its copy

    def forward(self, lightness, hints=None):
        self.seen.append(lightness)
        return torch.zeros(len(lightness), 2, *lightness.shape[-2:]) + self.rule(lightness)


def make_photo(width=80, height=60, seed=0):
    """A small colored photo: smooth blobs, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photo():
    return make_photo()


def make_folder(root, **counts):
    """Make so many photos of 80x60 px in the folder of each split."""
    for split, count in counts.items():
        for i in range(count):
            photo = make_photo(seed=100 * len(split) + i)
            write_photo(photo, root / split / f"{split}{i}.jpg")
    return root


@pytest.fixture
def folder(tmp_path):
    """A folder with 6 training, 3 validation and 2 test photos of 80x60 px."""
    return make_folder(tmp_path / "photos", train=6, val=3, test=2)


@pytest.fixture(scope="session")
def loaders(tmp_path_factory):
    """Makes the loaders of training and of validation of such a folder, in batches of two."""
    root = tmp_path_factory.mktemp("shared") / "photos"
    photos = PhotoFolder(make_folder(root, train=6, val=3, test=2)).photos
    train, val = ([p for p in photos if p.split == split] for split in ("train", "val"))
    return lambda seed=0, workers=0, settings=PLAIN: (
        train_loader(train, 32, 2, seed, workers, settings=settings),
        eval_loader(val, 32, 2, workers),
    )


@pytest.fixture
def undrawn(monkeypatch):
    """Networks are built, but their weights not drawn: enough to count them."""
    for name in ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **options: tensor)


class Stopped(Exception):
    """Somebody pulled the plug."""


def fit_until_killed(trainer, steps, *loaders, **options):
    """Let a trainer take so many steps, and then be killed."""
    training_step = trainer.training_step

    def until_killed(micro_batches):
        if trainer.global_step == steps:
            raise Stopped
        return training_step(micro_batches)

    trainer.training_step = until_killed
    with pytest.raises(Stopped):
        trainer.fit(*loaders, progress=False, **options)


@contextlib.contextmanager
def disk_full_at(name):
    """Let the download fail to write the file of that name."""
    write = unsplash.atomic_write

    def full(path):
        if path.name == name:
            raise OSError(28, "No space left on device")
        return write(path)

    with pytest.MonkeyPatch.context() as patch:
        for module in (catalog, unsplash):
            patch.setattr(module, "atomic_write", full)
        yield


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, loaders):
    """The folder of a run of some settings that nothing stopped: made once, to be looked at."""
    runs = {}

    def find(config):
        key = json.dumps(dataclasses.asdict(config), sort_keys=True)
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("unbroken")
            settings = ExampleSettings.from_config(config)
            trainer = open_run(config, runs[key], "cpu")
            trainer.fit(*loaders(settings=settings), progress=False)
        return runs[key]

    return find


def state_of(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(one, other):
    """Whether two nests of dicts, lists, tensors and numbers are bitwise alike."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A network with classes and hints, in the hub's form."""
    args = {"encoder_name": "mobilenet_v2", "width": 16, "hints": True}
    network = create_model("color_classifier", **args)
    nn.init.normal_(network.network.head.weight, std=3)
    found = pretrained.Pretrained(network, "color_classifier", args, 32, "tiny")
    folder = tmp_path_factory.mktemp("model") / "tiny"
    pretrained.save(found, folder, pretrained.model_card(found))
    return folder


@pytest.fixture
def browser(tmp_path):
    """Chromium without a window; what it downloads goes to `tmp_path / "got"`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver = shutil.which("chromedriver")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and program):
        pytest.skip("Chromium and its chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)  # the sandbox does not start as root, in a container
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "got")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.set_script_timeout(30)
    yield browser
    browser.quit()


def screen(browser, width, height, touch=False):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})


def js(browser, expression):
    return browser.execute_script(f"return {expression}")


def until(condition, limit=20.0):
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, "what was awaited did not come"
        time.sleep(0.02)
    return value
