"""What the README shows can be done as it stands there."""

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_folder, make_photo

from colorize.cli import _parser, main
from colorize.models import create_model
from colorize.presets import PRESETS
from colorize.utils.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = {
    "quick/unet_gan": ("unet_gan", {"depth": 4, "base_channels": 8}, "last"),
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    """The commands of this program, without comments and continued lines."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [word[1:] for word in words if word and word[0] == "colorize"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which everything lies that the README speaks of, but small."""
    for name, (model, arguments, weights) in SMALL.items():
        run = tmp_path / "runs" / name
        config = dataclasses.replace(
            PRESETS[model],
            crop_size=32,
            model_kwargs=arguments,
        )
        config.save(run / "config.json")
        state = create_model(model, **arguments).state_dict()
        save_checkpoint(run / f"{weights}.pt", {"model": state})
    samples = tmp_path / "colorize" / "data" / "samples"
    samples.mkdir(parents=True)
    shutil.copy(ROOT / "colorize" / "data" / "samples" / "astronaut.jpg", samples)
    make_folder(tmp_path / "PHOTOS", train=8, val=2)
    for path in ("album/1931/a.jpg", "grandma.tif"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        make_photo(160, 140).convert("L").save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_readme_runs_from_top_to_bottom(place, monkeypatch):
    code = [
        block.replace("base_channels=32, depth=6", "base_channels=4, depth=3")
        .replace("128, 128", "32, 32")
        .replace("min_side=128", "min_side=32")
        .replace("LabDataset(photos, 128", "LabDataset(photos, 32")
        .replace("size=128, batch_size=8", "size=32, batch_size=8")
        for block in blocks("python")
    ]
    names = {}
    for block in code:
        exec(compile(block, "README.md", "exec"), names)
    assert names["painted"].shape == (8, 2, 32, 32) and torch.isfinite(names["loss"])
    assert len(names["history"]) == 2 and names["colorizer"].name == "mine"
    assert (place / "output" / "astronaut.jpg").exists()
    assert len(names["three"]) == 3 and names["unsure"].mode == "L"


def test_every_command_of_the_readme_is_understood():
    known = commands()
    assert len(known) >= 13
    for words in known:
        assert callable(_parser(words).parse_args(words).command)


SOON = ("photo", "video", "models", "presets", "export")


@pytest.mark.parametrize("words", [w for w in commands() if w[0] in SOON])
def test_commands_of_the_readme_that_need_no_training_run(place, words, monkeypatch):
    if words[0] == "video":
        clip = pytest.importorskip("clip", reason="needs the extra video")
        monkeypatch.setattr("sys.argv", ["clip.py", "film.mp4", "--photos", "1", "--frames", "4"])
        clip.main()
    if words[0] == "export" and words[-1].endswith(".onnx"):
        pytest.importorskip("onnxscript", reason="needs the extra export")
    assert main(words) == 0
    made = {
        "photo": ("colored/grandma.tif", "colored/1931/a.jpg"),
        "video": ("colored.mp4",),
        "export": (words[-1],),
    }
    assert all((place / name).exists() for name in made.get(words[0], ()))


def test_every_file_that_the_readme_names_is_there():
    table = README[README.index("| file | duty |") : README.index("### How it is built")]
    for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[2:]:
        for name in re.findall(r"`([^`]+)`", cell):
            folder = Path(re.findall(r"`([^`]+)`", cell)[0]).parent
            found = (ROOT / name).exists() or (ROOT / folder / name).exists()
            assert found or (ROOT / folder / f"blindtest{name}").exists(), name
