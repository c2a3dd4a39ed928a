"""The web page: what its session does with a photo, and a visitor in a real browser."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import tifffile
from conftest import js, make_photo, screen, until
from PIL import Image

from colorize import load_samples
from colorize.cli import main
from colorize.inference.colorizer import Colorizer
from colorize.io.image import FORMAT_BY_SUFFIX
from colorize.io.image_file import read_image_file, read_provenance
from colorize.io.photo import read_photo
from colorize.models import create_model, pretrained
from colorize.visualization import gray_photo

gradio = pytest.importorskip("gradio", reason="needs the extra demo")


@pytest.fixture
def session(model, tmp_path):
    from colorize.app.session import DemoSession

    folder = tmp_path / "results"
    folder.mkdir()
    return DemoSession(Colorizer.from_pretrained(model, "cpu"), folder)


@pytest.fixture
def gray(tmp_path):
    path = tmp_path / "grandma.png"
    make_photo().convert("L").save(path)
    return str(path)


def pixels(photo):
    photo = photo if isinstance(photo, Image.Image) else read_photo(photo)
    return np.asarray(photo.convert("RGB"), int)


def test_a_photo_is_colorized_as_python_does_it(session, gray):
    result = session.colorize(gray, 0.9, "")
    assert np.array_equal(pixels(result.gray), pixels(gray))
    expected = session.colorizer(read_photo(gray), vividness=0.9)
    assert np.array_equal(pixels(result.colorized), pixels(expected))
    assert np.array_equal(pixels(result.marked), pixels(result.colorized))
    assert result.file.name == "grandma-colored.png"
    assert np.array_equal(pixels(result.file), pixels(expected))
    assert "vividness 0.9" in read_provenance(result.file)


def test_only_the_last_result_is_kept(session, gray):
    from colorize.app.gradio_app import _colorize

    (before, after), marked, button, last = _colorize(session, gray, None, "", None)
    assert before.size == after.size == marked.size == read_photo(gray).size
    assert button.interactive and button.value["orig_name"] == Path(last).name
    *_, newer = _colorize(session, gray, None, "", last)
    assert not Path(last).exists() and Path(newer).exists() and Path(gray).exists()
    comparison, marked, button, result = _colorize(session, None, None, "", newer)
    assert (comparison, marked, button.interactive, result) == (None, None, False, None)
    assert not Path(newer).exists()


def test_downloads_have_full_size_and_the_format_of_the_photo(session, tmp_path):
    deep = np.tile(np.linspace(0, 65535, 1600).astype(np.uint16), (900, 1))
    tifffile.imwrite(tmp_path / "scan.tif", deep)
    result = session.colorize(str(tmp_path / "scan.tif"), None, "")
    assert result.gray.size == result.colorized.size == (1280, 720)
    assert result.file.name == "scan-colored.tif"
    assert tifffile.imread(result.file).shape == (900, 1600, 3)
    assert tifffile.imread(result.file).dtype == np.uint16
    Image.new("L", (40, 30), 100).save(tmp_path / "old.bmp")
    assert session.colorize(str(tmp_path / "old.bmp"), None, "").file.name == "old-colored.png"


def test_a_click_becomes_a_hint_in_pixels_of_the_photo(session, tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (2560, 1280), 128).save(path)  # shown at half its size
    text = session.add_hint("", str(path), "#aa3311", (100, 50))
    assert text == "201,101,#aa3311"
    text = session.add_hint(text + "\n", str(path), "teal", (0, 639))
    assert text == "201,101,#aa3311\n1,1279,teal"
    result = session.colorize(str(path), None, text)
    assert tuple(pixels(result.marked)[50, 100]) == (0xAA, 0x33, 0x11)
    assert "hint 201,101,#aa3311, hint 1,1279,teal" in read_provenance(result.file)


@pytest.mark.parametrize(
    "hints, message",
    [
        ("10,20", "'' is no color"),
        ("here,20,red", "a hint is X,Y,COLOR"),
        ("10,20,redd", "'redd' is no color"),
        ("9999,20,red", "outside the photo"),
    ],
)
def test_a_line_that_is_not_a_hint_is_rejected(session, gray, hints, message):
    with pytest.raises(ValueError, match=message):
        session.colorize(gray, None, hints)


def test_samples_differ_within_and_between_draws(session, gray):
    first, seed = session.sample(gray, 0.5, "", 0)
    second, _ = session.sample(gray, 0.5, "", seed)
    pictures = [pixels(sample).tobytes() for sample in first + second]
    assert len(pictures) == 8 and len(set(pictures[:4])) > 2
    assert pictures[:4] != pictures[4:]
    assert session.sample(None, 0.5, "", 3) == ([], 3)
    result = session.colorize(gray, 0.5, "", (seed, 2))
    assert np.array_equal(pixels(result.colorized), pixels(second[2]))  # the one that was clicked
    assert np.array_equal(pixels(result.file), pixels(second[2]))
    provenance = read_provenance(result.file)
    assert "seed 1" in provenance and "a sample" in provenance


def test_the_uncertainty_is_a_map_of_the_photos_size(session, gray):
    assert session.uncertainty(gray, "").size == read_photo(gray).size
    assert session.uncertainty(None, "") is None


def test_errors_are_shown_on_the_page(session, tmp_path):
    from colorize.app.gradio_app import _errors_on_page

    (tmp_path / "bad.jpg").write_text("not a photo")
    with pytest.raises(gradio.Error, match=r"bad\.jpg") as error:
        _errors_on_page(session.colorize)(str(tmp_path / "bad.jpg"), None, "")
    assert str(tmp_path) not in str(error.value)  # the visitor's name for it, not the server's


LABELS = """
import json, sys
from pathlib import Path
from colorize.cli import main
from colorize.inference.colorizer import Colorizer
from colorize.app.gradio_app import page
blocks = page(Colorizer.from_pretrained(sys.argv[1], "cpu"), Path("."))
blocks = [(type(block).__name__, block) for block in blocks.blocks.values()]
labels = [block.label for kind, block in blocks if kind in ("Tab", "Slider") and block.visible]
print(json.dumps(labels))
"""


@pytest.mark.slow
@pytest.mark.parametrize("has_all", [True, False])
def test_the_page_offers_what_the_model_supports(model, tmp_path, has_all):
    if not has_all:
        args = {"encoder_name": "mobilenet_v2", "width": 16}
        network = create_model("encoder_unet", **args)
        plain = pretrained.Pretrained(network, "encoder_unet", args, 32, "plain")
        model = tmp_path / "plain"
        pretrained.save(plain, model, pretrained.model_card(plain))
    # In a process of its own: gradio leaves sockets open.
    command = [sys.executable, "-c", LABELS, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    always = {"Before and after", "Divider"}
    more = {"Vividness", "Hints", "Samples", "Uncertainty"} if has_all else set()
    assert set(json.loads(done.stdout)) == always | more


@pytest.mark.parametrize(
    ("host", "port", "error"), [("192.0.2.1", None, OSError), ("127.0.0.1", 65536, ValueError)]
)
def test_an_impossible_host_or_port_is_reported_at_once(model, host, port, error):
    from colorize.app.server import serve

    with pytest.raises(error, match=rf"{port or host}"):
        serve(Colorizer.from_pretrained(model, "cpu"), host, port)


LATE = """
import os, sys, threading, time
from pathlib import Path
import gradio
from colorize.cli import main
from colorize.inference.colorizer import Colorizer
from colorize.app.server import serve

def late(folder):
    time.sleep(0.5)
    folder.mkdir(parents=True)
    (folder / "result.png").write_bytes(b"a visitor's")

def stop(blocks):
    late_folder = Path(os.environ["GRADIO_TEMP_DIR"], "late")
    threading.Thread(target=late, args=[late_folder]).start()
    sys.exit(143)  # as SIGTERM does

gradio.Blocks.block_thread = stop
serve(Colorizer.from_pretrained(sys.argv[1], "cpu"))
"""


def test_photos_in_progress_when_the_page_stops_are_deleted(model, tmp_path):
    (tmp_path / "tmp").mkdir()
    env = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run([sys.executable, "-c", LATE, str(model)], env=env)
    assert done.returncode == 143
    assert photos_in(tmp_path / "tmp") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command_passes_options_and_warns_of_visitors(model, monkeypatch, capsys, host):
    arguments = []
    monkeypatch.setattr("colorize.app.server.serve", lambda *args: arguments.extend(args))
    options = ["--host", host, "--port", "81", "--max-upload", "3", "--device", "cpu"]
    assert main(["demo", "--model", str(model), *options]) == 0
    colorizer, *rest = arguments
    assert colorizer.name == model.name and rest == [host, 81, 3]
    assert ("may upload photos" in capsys.readouterr().err) == (host == "0.0.0.0")


@pytest.mark.slow
def test_a_port_in_use_is_reported(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "colorize", "demo", "--model", str(model), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and port in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def mountains(tmp_path):
    """A photo whose colors the bundled model should know."""
    photo = next(photo for photo in load_samples().photos if photo.id == "mountains")
    path = tmp_path / "mountains.png"
    gray_photo(read_photo(photo.path)).convert("L").save(path)
    return path


def photos_in(folder):
    """The photos of visitors in a folder."""
    return [
        path for path in folder.rglob("*") if path.is_file() and path.suffix in FORMAT_BY_SUFFIX
    ]


@pytest.fixture
def server(tmp_path):
    """The address of the page, served by the command with the bundled model."""
    words = ["demo", "--max-upload", "1", "--device", "cpu", "--port", "7871"]
    command = [sys.executable, "-u", "-m", "colorize", *map(str, words)]
    env = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "GRADIO_TEMP_DIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        address = next(re.search(r"http://\S+", line) for line in process.stdout)
        yield address.group()
        process.terminate()
    assert photos_in(tmp_path / "tmp") == []


class Page:
    """A visitor without a browser: calls the events of the page over HTTP."""

    def __init__(self, address):
        self.address = address.rstrip("/")
        self.http = requests.Session()
        self.http.trust_env = False
        config = self.http.get(f"{self.address}/config").json()
        self.names = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
        self.events = config["dependencies"]

    def upload(self, path):
        with open(path, "rb") as file:
            answer = self.http.post(f"{self.address}/gradio_api/upload", files={"files": file})
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def event(self, target, kind):
        matches = (
            event["id"]
            for event in self.events
            if any(self.names.get(t) == target and k == kind for t, k in event["targets"])
        )
        return next(matches)

    def after(self, event):
        return next(e["id"] for e in self.events if e["trigger_after"] == event)

    def call(self, event, *data, index=None):
        join = {"fn_index": event, "data": data, "session_hash": "visitor"}
        if index is not None:
            join["event_data"] = {"index": index, "value": None}
        self.http.post(f"{self.address}/gradio_api/queue/join", json=join).raise_for_status()
        query = {"session_hash": "visitor"}
        url = f"{self.address}/gradio_api/queue/data"
        with self.http.get(url, params=query, stream=True) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    output = message["output"]
                    return output["data"] if message["success"] else output["error"]


@pytest.mark.slow
def test_every_event_of_the_page_does_its_work(server, mountains):
    page = Page(server)
    photo = page.upload(mountains)
    uploaded = page.event("photo", "change")
    hints, samples, uncertainty, button = page.call(uploaded, photo)
    assert hints["value"] == "" and (samples, uncertainty) == ([], None)
    assert not button["interactive"]
    (before, after), marked, button, _ = page.call(page.after(uploaded), photo, 0.8, "", None)
    assert before["path"] != after["path"] and marked["path"] and button["interactive"]
    assert page.call(page.event("marked", "select"), "", photo, "#aa3311", index=[3, 4]) == [
        "3,4,#aa3311"
    ]
    edited = page.event("hints", "submit")
    assert page.event("hints", "blur") == edited
    assert "'nocolor' is no color" in page.call(edited, photo, 0.8, "5,5,nocolor", None)
    _, hinted, *_ = page.call(edited, photo, 0.8, "5,5,teal", None)
    assert hinted["path"] != marked["path"]
    drawn, _ = page.call(page.event("draw", "click"), photo, 0.5, "", 0)
    assert len({sample["image"]["path"] for sample in drawn}) == 4
    chosen = page.call(page.event("samples", "select"), photo, 0.5, "", None, 1, index=2)
    assert chosen[0][1]["path"] not in (after["path"], hinted["path"])
    for event in (page.after(uploaded), edited, page.after(page.event("marked", "select"))):
        (uncertainty,) = page.call(page.after(event), photo, "")
        assert uncertainty["path"].endswith(".webp") or uncertainty["path"].endswith(".png")
    (comparison,) = page.call(page.event("divider", "change"), 30)
    assert comparison["slider_position"] == 30


def find(browser, selector):
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, selector)


def tab(browser, name):
    tabs = "[...document.querySelectorAll('[role=tab]')]"
    browser.execute_script(f"{tabs}.find((tab) => tab.innerText == arguments[0]).click()", name)


def give(browser, path):
    """Drop a photo, in place of another."""
    until(lambda: js(browser, "document.querySelector('#photo input[type=file]')"), 60)
    find(browser, "#photo input[type=file]").send_keys(str(path))


def picture(browser, selector, other=None):
    """The address of a picture, once it has changed."""
    query = "document.querySelector(arguments[0])"
    ask = f"const img = {query}; return img && img.complete && img.naturalWidth && img.src"

    def new():
        address = browser.execute_script(ask, selector)
        return address if address and address != other else None

    return until(new, 60)


def border(browser):
    """Where the photo ends and the result begins, in px of the screen."""
    return js(browser, "document.querySelector('#comparison .inner').getBoundingClientRect().x")


def toast(browser):
    return until(lambda: js(browser, "document.querySelector('.toast-body')?.innerText"), 60)


def outside(browser):
    """The requested addresses that are not on this machine."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in requested if not re.match(r"http://127\.0\.0\.1|data:|blob:", url)]


def shot(browser, name):
    """Save a screenshot of the page, for the README, if SCREENSHOTS names a folder."""
    if "SCREENSHOTS" in os.environ:
        browser.save_screenshot(str(Path(os.environ["SCREENSHOTS"]) / f"{name}.png"))


@pytest.mark.slow
def test_a_visitor_colorizes_a_photo_and_downloads_it(server, browser, tmp_path, mountains):
    screen(browser, 1280, 960)
    browser.get(server)
    give(browser, mountains)
    colorized = picture(browser, "#comparison img:last-of-type")
    assert js(browser, "document.querySelectorAll('#comparison img').length") >= 2
    shot(browser, "desktop")

    # The divider between photo and result, moved by keys.
    middle = border(browser)
    find(browser, "#divider input[type=range]").send_keys("\ue012" * 20)
    until(lambda: border(browser) < middle - 30)

    knob = find(browser, "#vividness input[type=range]")
    knob.send_keys("\ue012" * 20)  # the left arrow, as without a mouse
    duller = picture(browser, "#comparison img:last-of-type", colorized)
    tab(browser, "Hints")
    first = picture(browser, "#marked img")
    find(browser, "#marked img").click()  # in its middle
    second = picture(browser, "#marked img", first)
    size = read_photo(mountains).size
    line = js(browser, "document.querySelector('#hints textarea').value")
    x, y, color = line.split(",")
    assert abs(int(x) - size[0] / 2) <= 2 and abs(int(y) - size[1] / 2) <= 2 and color == "#aa3311"
    field = find(browser, "#hints textarea")
    field.clear()
    field.send_keys("5,5,nocolor\t")
    assert "'nocolor' is no color" in toast(browser)
    field.clear()
    field.send_keys("5,5,teal\t")
    assert picture(browser, "#marked img", second) != first

    tab(browser, "Samples")
    find(browser, "#draw").click()
    until(lambda: js(browser, "document.querySelectorAll('#samples img').length") >= 4, 60)
    likeliest = js(browser, "document.querySelector('#comparison img:last-of-type').src")
    js(browser, "document.querySelectorAll('#samples button:has(img)')[2].click()")
    assert picture(browser, "#comparison img:last-of-type", likeliest)
    tab(browser, "Uncertainty")
    picture(browser, "#uncertainty img")

    tab(browser, "Before and after")
    assert picture(browser, "#comparison img:last-of-type") not in (colorized, duller)
    until(lambda: find(browser, "#download").is_enabled())
    find(browser, "#download").click()
    file = tmp_path / "got" / "mountains-colored.png"
    until(file.exists, 60)
    its_own = 1 - pretrained.load().model_kwargs["temperature"]
    assert f"vividness {its_own - 0.2:g}," in read_provenance(file)  # 20 keys of 0.01
    assert "hint 5,5,teal" in read_provenance(file)
    assert read_image_file(file).rgb.shape[1:] == size[::-1]
    assert outside(browser) == []


@pytest.mark.slow
def test_bad_and_huge_files_are_rejected_with_a_message(server, browser, tmp_path, mountains):
    screen(browser, 375, 800, touch=True)
    browser.get(server)
    bad = tmp_path / "bad.jpg"
    bad.write_text("not a photo")
    give(browser, bad)
    assert "bad.jpg" in toast(browser)
    browser.get(server)
    huge = tmp_path / "huge.png"
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    Image.fromarray(noise).save(huge)
    assert huge.stat().st_size > 2**20
    give(browser, huge)
    assert "size" in toast(browser).lower()
    browser.get(server)
    give(browser, mountains)
    picture(browser, "#comparison img:last-of-type")
    shot(browser, "phone")
    assert js(browser, "document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_two_visitors_at_once_get_their_own_photos(server, browser, tmp_path):
    colors = {"dark": 40, "bright": 200}
    for name, level in colors.items():
        Image.new("L", (64, 48), level).save(tmp_path / f"{name}.png")
    tabs = {}
    for name in colors:
        browser.switch_to.new_window("tab")
        browser.get(server)
        tabs[name] = browser.current_window_handle
    for name, handle in tabs.items():
        browser.switch_to.window(handle)
        give(browser, tmp_path / f"{name}.png")
    for name, handle in tabs.items():
        browser.switch_to.window(handle)
        picture(browser, "#comparison img:last-of-type")
        find(browser, "#download").click()
        file = tmp_path / "got" / f"{name}-colored.png"
        until(file.exists, 60)
        assert abs(pixels(file).mean() - colors[name]) < 25
