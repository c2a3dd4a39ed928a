"""What the README and the guides show works as it is written."""

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_folder, make_photo

import colorize
from colorize.cli import _parser, main
from colorize.models import create_model, model_summary
from colorize.presets import METHODS, PRESETS
from colorize.utils.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "colorize" / "README.md"
GUIDES = sorted((ROOT / "colorize").glob("*/README.md"))
PAGES = [README, ARCHITECTURE, *GUIDES]
RUN = {"depth": 4, "base_channels": 8}


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands():
    """The commands of this program in all pages, without comments and continued lines."""
    text = "\n".join(block for page in PAGES for block in blocks(page, "sh"))
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    calls = [words[1:] for words in lines if words and words[0] == "colorize"]
    return [list(words) for words in dict.fromkeys(map(tuple, calls))]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with everything that the pages mention, but small."""
    run = tmp_path / "runs" / "quick" / "unet_gan"
    dataclasses.replace(PRESETS["unet_gan"], crop_size=32, model_kwargs=RUN).save(
        run / "config.json"
    )
    save_checkpoint(run / "last.pt", {"model": create_model("unet_gan", **RUN).state_dict()})
    samples = tmp_path / "colorize" / "data" / "samples"
    samples.mkdir(parents=True)
    shutil.copy(ROOT / "colorize" / "data" / "samples" / "astronaut.jpg", samples)
    make_folder(tmp_path / "PHOTOS", train=8, val=2)
    for path in ("scans/1931/a.jpg", "grandma.tif"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        make_photo(160, 140).convert("L").save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(page):
    """Execute the Python of a page from top to bottom, at a smaller size."""
    names = {}
    for block in blocks(page, "python"):
        small = (
            block.replace("base_channels=32, depth=6", "base_channels=4, depth=3")
            .replace("min_side=128", "min_side=32")
            .replace("LabDataset(photos, 128", "LabDataset(photos, 32")
            .replace("crop_size=128, batch_size=8", "crop_size=32, batch_size=8")
        )
        exec(compile(small, page.name, "exec"), names)
    return names


def test_the_python_of_the_readme_runs_from_top_to_bottom(place):
    names = run_python(README)
    assert names["pred_ab"].shape == (8, 2, 32, 32) and torch.isfinite(names["loss"])
    assert names["rgb"].shape == (8, 3, 32, 32)
    assert (place / "output" / "astronaut.jpg").exists()
    assert len(names["samples"]) == 3 and names["uncertainty"].mode == "L"
    assert names["hinted"].size == names["photo"].size


def test_the_python_of_the_training_guide_runs(place):
    names = run_python(ROOT / "colorize" / "trainers" / "README.md")
    assert len(names["history"]) == 2 and names["colorizer"].name == "mine"


def test_the_python_of_the_inference_guide_runs(place):
    photo, turned = run_python(ROOT / "colorize" / "inference" / "README.md")["both"]
    assert photo.size == turned.size


def test_the_python_of_the_video_guide_runs(place, model, monkeypatch):
    sample = pytest.importorskip("make_sample_video", reason="needs the extra video")
    monkeypatch.setattr("sys.argv", ["make", "video.mp4", "--photos", "1", "--frames", "4"])
    sample.main()
    (block,) = blocks(ROOT / "colorize" / "video" / "README.md", "python")
    names = {"colorizer": colorize.Colorizer.from_pretrained(model, "cpu")}
    exec(compile(block, "video", "exec"), names)
    assert names["result"].frames == 4 and (place / "colored.mp4").exists()


def test_every_command_of_the_pages_is_understood():
    assert len(commands()) >= 13
    for words in commands():
        assert callable(_parser(words).parse_args(words).command)


QUICK = ("photo", "video", "models", "presets", "export")


@pytest.mark.parametrize("words", [w for w in commands() if w[0] in QUICK])
def test_commands_of_the_pages_that_need_no_training_run(place, words, monkeypatch):
    if words[0] == "video":
        sample = pytest.importorskip("make_sample_video", reason="needs the extra video")
        monkeypatch.setattr("sys.argv", ["make", "video.mp4", "--photos", "1", "--frames", "4"])
        sample.main()
    if words[0] == "export" and words[-1].endswith(".onnx"):
        pytest.importorskip("onnxscript", reason="needs the extra export")
    assert main(words) == 0
    outputs = {
        "photo": ("colored/grandma.tif", "colored/1931/a.jpg"),
        "video": ("colored.mp4",),
        "export": (words[-1],),
    }
    assert all((place / name).exists() for name in outputs.get(words[0], ()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    for link in (link for link in links if not link.startswith("http")):
        assert (page.parent / link).exists(), link


def test_the_readme_is_short_and_links_every_guide():
    lines = README.read_text().splitlines()
    assert len(lines) <= 180
    for line in lines:
        assert len(line) <= 100 or line.startswith("|"), line
    for page in (ARCHITECTURE, *GUIDES):
        assert f"]({page.relative_to(ROOT)})" in README.read_text()


def tree():
    """The files and folders that the architecture page lists."""
    (block,) = blocks(ARCHITECTURE, "text")
    paths, folders = [], []
    for line in block.splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders = folders[:depth]
        paths.append("".join([*folders, name]))
        if name.endswith("/"):
            folders.append(name)
    return paths


def test_the_tree_lists_what_there_is():
    for path in tree():
        assert (ROOT / path).exists(), path


def test_the_tree_lists_every_module():
    listed = set(tree())
    summarized = ("colorize/cli/", "colorize/utils/", "colorize/data/unsplash/")
    for path in (ROOT / "colorize").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if not path.name.startswith("__") and not name.startswith(summarized):
            assert name in listed, name


def test_the_levels_are_those_of_the_test_of_the_structure():
    from test_structure import LEVELS

    table = ARCHITECTURE.read_text().split("## Who imports whom")[1].split("## ")[0]
    rows = re.findall(r"^\| (\d) \| (.*?) \|", table, re.MULTILINE)
    assert [int(level) for level, _ in rows] == list(range(len(LEVELS) - 1))
    for (_, cell), parts in zip(rows, LEVELS[:-1], strict=True):
        assert set(re.findall(r"`(\w+)`", cell)) == parts


def test_the_table_of_models_agrees_with_the_presets():
    rows = re.findall(r"^\| `(\w+)` \| .*? \| ([\d.]+) M \|", README.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(METHODS)
    for name, millions in rows:
        config = PRESETS[name]
        parameters, _ = model_summary(config.model, config.model_kwargs, config.crop_size)
        assert millions == f"{parameters / 1e6:.1f}"


def test_the_results_are_those_of_the_model_card():
    card = ROOT / "colorize" / "weights" / "colorful" / "README.md"
    tables = [
        re.search(r"<!-- measures -->\n(.*)<!-- /measures -->", page.read_text(), re.DOTALL)[1]
        for page in (README, card)
    ]
    assert tables[0] == tables[1]


def test_the_citation_agrees_with_its_file_and_the_version():
    (entry,) = blocks(README, "bibtex")
    citation = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"(\w+) += \{+(.*?)\}+,?\n", entry))
    assert f'title: "{fields["title"]}"' in citation and fields["license"] == "MIT"
    assert f'- name: "{fields["author"]}"' in citation
    assert fields["version"] == colorize.__version__
    assert f"\nversion: {colorize.__version__}\n" in citation
    changelog = (ROOT / ".github" / "CHANGELOG.md").read_text()
    assert re.search(r"^## ([\d.]+)$", changelog, re.MULTILINE)[1] == colorize.__version__


def test_the_changelog_maps_every_renamed_setting_and_model():
    from colorize.utils import legacy

    changelog = (ROOT / ".github" / "CHANGELOG.md").read_text()
    for table in (legacy._SETTINGS, legacy._MODELS, legacy._MODEL_KWARGS):
        for old, new in table.items():
            assert any(f"`{old}`" in row and f"`{new}`" in row for row in changelog.splitlines())
