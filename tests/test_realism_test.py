"""The realism test: a self-contained page, pairs that differ in color only, correct counts."""

import base64
import io
import json
import random
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import js, make_photo, screen, until
from PIL import Image

from colorize.cli import main
from colorize.evaluation.realism_test import TEMPLATE, write_realism_test

HOSTILE = """</script><b onclick='x'>"<!--&amp;\u2028é.jpg"""
RED, GREEN = (200, 40, 40), (40, 160, 40)  # a real photo and a colorized one, to eyes and browsers

ENTER, LEFT, RIGHT = "\ue007", "\ue012", "\ue014"  # WebDriver's names of these keys

# Wilson's 95 % intervals by hand: (k + z²/2 ± z √(k (n - k) / n + z²/4)) / (n + z²), z = 1.959964.
WILSON = {
    (0, 10): (0.0, 0.2775),
    (5, 10): (0.2366, 0.7634),
    (10, 10): (0.7225, 1.0),
    (2, 5): (0.1176, 0.7693),
}


class Page(HTMLParser):
    """A page taken apart: its tags, what they refer to, its text, the data of the test."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.text, self.data, self.inside = [], [], "", "", ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.test = json.loads(self.data)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.inside = dict(attributes).get("type", tag)
        names = ("src", "href", "srcset", "action", "data", "poster", "background")
        self.links += [value for name, value in attributes if name in names]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "application/json":
            self.data += data
        elif self.inside not in ("script", "style"):
            self.text += data


def flat(color, names, size=(90, 60)):
    return {name: Image.new("RGB", size, color) for name in names}


def names(count):
    return [f"photo {number}" for number in range(count)]


def decoded(trial):
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in trial["images"]]


def is_red(photo):
    red, green, _ = np.asarray(photo.convert("RGB"), int).mean((0, 1))
    return red > green


def test_the_page_needs_nothing_but_itself(tmp_path):
    path = write_realism_test(
        flat(RED, names(3)), flat(GREEN, names(3)), tmp_path / "new" / "t.html"
    )
    assert path == tmp_path / "new" / "t.html" and list(path.parent.iterdir()) == [path]
    page, text = Page(path), path.read_text(encoding="utf-8")
    assert page.links and all(link.startswith("data:") for link in page.links)
    assert not re.search(r"https?:|//\w+\.|url\(|@import|@TEST@|fetch\(|XMLHttp|sendBeacon", text)
    assert "default-src 'none'" in text and '<html lang="en">' in text


def test_the_template_is_installed_with_the_package():
    tools = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["tool"]
    assert f"evaluation/{TEMPLATE.name}" in tools["setuptools"]["package-data"]["colorize"]


def test_each_pair_is_complete_and_ordered_as_the_page_says(tmp_path):
    path = write_realism_test(
        flat(RED, names(20)), flat(GREEN, names(20)), tmp_path / "t.html", 3, 0.5, "Mine"
    )
    test = Page(path).test
    assert (test["title"], test["seed"], test["seconds"]) == ("Mine", 3, 0.5)
    assert sorted(trial["photo"] for trial in test["trials"]) == sorted(names(20))
    for trial in test["trials"]:
        real = [is_red(photo) for photo in decoded(trial)]
        assert real == ([False, True] if trial["colorized"] == "left" else [True, False])
    assert {trial["colorized"] for trial in test["trials"]} == {"left", "right"}


@pytest.mark.parametrize(
    ("size", "expected"), [((1500, 1000), (512, 341)), ((90, 60), (90, 60)), ((3, 2000), (1, 512))]
)
def test_the_images_of_a_pair_differ_in_color_only(tmp_path, size, expected):
    target, colorized = make_photo(*size, seed=1), make_photo(*size, seed=2)
    exif = Image.Exif()
    exif[0x010E] = "taken in Rome"
    target.save(tmp_path / "t.jpg", quality=40, comment=b"real", dpi=(7, 7), exif=exif)
    target = Image.open(tmp_path / "t.jpg")
    target.info["icc_profile"] = b""
    page = Page(write_realism_test({"a": target}, {"a": colorized}, tmp_path / "t.html"))
    left, right = decoded(page.test["trials"][0])
    assert left.size == right.size == expected
    assert left.format == right.format == "JPEG" and left.info == right.info
    assert set(left.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert left.quantization == right.quantization and left.layer == right.layer
    assert [layer[1:3] for layer in left.layer] == [(1, 1)] * 3  # no chroma is left out


def test_the_seed_determines_the_order_and_the_sides(tmp_path):
    def draw(order, seed):
        path = tmp_path / "t.html"
        write_realism_test(flat(RED, order), flat(GREEN, sorted(order)), path, seed)
        return path.read_bytes(), Page(path).test["trials"]

    shuffled = random.Random(0).sample(names(12), 12)
    same, trials = draw(names(12), 5)
    assert draw(shuffled, 5)[0] == same
    others = draw(names(12), 6)[1]
    for key in ("photo", "colorized"):
        assert [trial[key] for trial in trials] != [trial[key] for trial in others]
    assert [trial["photo"] for trial in trials] != names(12)


def test_hostile_names_are_only_text(tmp_path):
    plain = Page(write_realism_test(flat(RED, "a"), flat(GREEN, "a"), tmp_path / "t.html"))
    odd = [HOSTILE, "a\udce9b", "@TEST@"]
    path = write_realism_test(flat(RED, odd), flat(GREEN, odd), tmp_path / "t.html", title=HOSTILE)
    page = Page(path)
    assert page.tags == plain.tags and page.text == plain.text  # no name is seen before the end
    assert {trial["photo"] for trial in page.test["trials"]} == set(odd)
    assert page.test["title"] == HOSTILE


@pytest.mark.parametrize(
    ("targets", "colorized", "options", "message"),
    [
        ({}, {}, {}, "got none"),
        (flat(RED, "ab"), flat(GREEN, "bc"), {}, r"\['a', 'c'\] differ"),
        (flat(RED, "a"), flat(GREEN, "a", (9, 8)), {}, r"'a' is \(90, 60\), its .* \(9, 8\)"),
        (flat(RED, "a"), flat(GREEN, "a"), {"seconds": 0}, "got 0"),
        (flat(RED, "a"), flat(GREEN, "a"), {"seconds": float("nan")}, "got nan"),
        (flat(RED, "a"), flat(GREEN, "a"), {"seconds": float("inf")}, "got inf"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path, targets, colorized, options, message):
    with pytest.raises(ValueError, match=message):
        write_realism_test(targets, colorized, tmp_path / "t.html", **options)
    assert not list(tmp_path.iterdir())


def test_the_command_samples_photos_by_the_seed(folder, tmp_path):
    samples = []
    for seed in ("0", "0", "1", "2"):
        words = ["--data", str(folder), "--split", "train", "--count", "2", "--seed", seed]
        page = tmp_path / "t.html"
        command = ["realism-test", str(folder / "train"), *words, "-o", str(page), "--overwrite"]
        assert main(command) == 0
        test = Page(page).test
        assert test["seed"] == int(seed) and test["seconds"] == 1
        samples.append({trial["photo"] for trial in test["trials"]})
    assert samples[0] == samples[1] and all(len(sample) == 2 for sample in samples)
    assert len(set(map(frozenset, samples))) > 1
    kept = page.read_bytes()
    assert main(command[:-1]) == 2  # the page exists
    photo = folder / "train" / "train0.jpg"
    before = photo.read_bytes()
    assert main([*command[:-2], str(photo), "--overwrite"]) == 2  # not a page
    assert (page.read_bytes(), photo.read_bytes()) == (kept, before)


# In a browser. `seen` has an entry for each pair that was on the screen: the times of its first
# and last frame, and from left to right, or top to bottom, whether a photo is red.
WATCH = """
window.seen = [];
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const red = (image) => {
  canvas.drawImage(image, 0, 0, 1, 1);
  const [r, g] = canvas.getImageData(0, 0, 1, 1).data;
  return r > g;
};
const place = (image) => image.getBoundingClientRect();
let standing = false;
(function watch() {
  const images = [...document.querySelectorAll("#trial img")].filter(
    (image) => image.complete && image.checkVisibility({ visibilityProperty: true }));
  images.sort((one, other) => place(one).x - place(other).x || place(one).y - place(other).y);
  const now = performance.now();
  if (images.length && !standing) {
    seen.push({ first: now, real: images.map(red),
      places: images.map((image) => place(image).toJSON()),
      bare: images.every((image) => image.getAttributeNames().sort().join() === "alt,src"
        && image.alt === "") });
    // Too early to be an answer.
    document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
  }
  if (images.length) seen.at(-1).last = now;
  standing = images.length > 0;
  requestAnimationFrame(watch);
})();
"""


def words(browser, name):
    """The text of an element that one can see."""
    return js(browser, f"document.getElementById('{name}').innerText").strip()


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def wait_for_question(browser):
    until(lambda: js(browser, "document.querySelectorAll('.place:enabled').length") == 2)


def fits(browser):
    """Whether nothing goes beyond the screen to the side."""
    return js(browser, "document.documentElement.scrollWidth <= innerWidth")


def has_colors(browser):
    """Whether anything on the screen is not gray."""
    pixels = np.asarray(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB"), int)
    return bool((np.ptp(pixels, axis=2) > 8).any())


@pytest.mark.slow
def test_a_browser_goes_through_it_by_keyboard(tmp_path, browser):
    odd = [HOSTILE, *names(4)]
    path = write_realism_test(
        flat(RED, odd), flat(GREEN, odd), tmp_path / "t.html", 2, title=HOSTILE
    )
    trials = Page(path).test["trials"]
    screen(browser, 1280, 800)
    browser.get(path.as_uri())
    browser.execute_script(WATCH)
    assert browser.title.split() == HOSTILE.split() and fits(browser)
    assert "Space" in words(browser, "welcome") and "Tap" not in words(browser, "welcome")
    press(browser, "f")  # there is no question yet

    fooled = [False, True, False, False, True]
    keys = {"left": [LEFT, "f", LEFT], "right": ["J", RIGHT, "j"]}
    for number, (trial, wrong) in enumerate(zip(trials, fooled, strict=True)):
        if number == 2:
            browser.execute_script("document.activeElement.blur()")  # Space must work all the same
        press(browser, ENTER if number == 1 else " ")
        wait_for_question(browser)
        assert js(browser, "document.querySelectorAll('img').length") == 0
        assert not has_colors(browser)
        assert words(browser, "progress") == f"{number + 1} of 5"
        assert "Left" in words(browser, "left") and "Right" in words(browser, "right")
        browser.execute_script(
            "document.dispatchEvent(new KeyboardEvent('keydown', { key: 'f', ctrlKey: true }))"
        )
        assert js(browser, "answers.length") == number and fits(browser)
        other = {"left": "right", "right": "left"}[trial["colorized"]]
        press(browser, keys[other if wrong else trial["colorized"]].pop(0))
    assert sorted(map(len, keys.values())) == [0, 1]  # each key has answered

    height = js(browser, "innerHeight")
    for trial, pair in zip(trials, js(browser, "seen"), strict=True):
        assert pair["real"] == [side != trial["colorized"] for side in ("left", "right")]
        assert pair["bare"]
        assert 950 <= pair["last"] - pair["first"] < 4000
        left, right = pair["places"]
        assert left["right"] <= right["left"] and left["width"] == right["width"] > 300
        assert 0 <= left["top"] == right["top"] and left["bottom"] == right["bottom"] <= height

    shown = words(browser, "results")
    for text in ("40 %", "2 of 5", "12 % to 77 %", f"{trials[1]['photo']}: you were fooled"):
        assert text in shown
    assert shown.count("you were right") == 3 and fits(browser)
    until(lambda: has_colors(browser))

    browser.find_element("id", "download").click()
    file = tmp_path / "got" / "realism-test.json"
    until(file.exists)
    result = json.loads(file.read_text(encoding="utf-8"))
    assert (result["fooled"], result["trials"], result["rate"]) == (2, 5, 0.4)
    assert result["interval"] == pytest.approx(WILSON[2, 5], abs=5e-5)
    assert (result["method"], result["title"]) == ("Wilson 95 %", HOSTILE)
    assert (result["seed"], result["seconds"]) == (2, 1)
    for answer, trial, wrong in zip(result["answers"], trials, fooled, strict=True):
        assert (answer["photo"], answer["colorized"]) == (trial["photo"], trial["colorized"])
        assert answer["fooled"] == wrong == (answer["answer"] != answer["colorized"])
        assert 0 <= answer["milliseconds"] < 20000
        assert 1000 <= answer["shown_milliseconds"] < 4000

    for (successes, count), interval in WILSON.items():
        assert js(browser, f"wilson({successes}, {count})") == pytest.approx(interval, abs=5e-5)
    assert browser.get_log("browser") == []  # no error, nothing that the page's policy forbids


@pytest.mark.slow
def test_a_phone_stacks_the_photos_and_is_touched(tmp_path, browser):
    odd = ["x" * 300, HOSTILE]
    path = write_realism_test(
        flat(RED, odd), flat(GREEN, odd), tmp_path / "t.html", seconds=0.2, title="y" * 100
    )
    screen(browser, 375, 800, touch=True)
    browser.get(path.as_uri())
    browser.execute_script(WATCH)
    assert "Tap" in words(browser, "welcome") and "Space" not in words(browser, "welcome")
    assert fits(browser)
    for button in ("start", "next"):
        browser.find_element("id", button).click()
        wait_for_question(browser)
        assert (words(browser, "left"), words(browser, "right")) == ("Upper", "Lower")
        assert fits(browser) and js(browser, "document.documentElement.scrollHeight") <= 800
        browser.find_element("id", "right").click()
        assert fits(browser)
    for trial, pair in zip(Page(path).test["trials"], js(browser, "seen"), strict=True):
        upper, lower = pair["places"]
        assert upper["bottom"] <= lower["top"] and lower["bottom"] <= 800
        assert 0 <= upper["left"] == lower["left"] and upper["right"] <= 375
        assert pair["real"][0] == (trial["colorized"] == "right")
    assert js(browser, "answers.map((answer) => answer.answer)") == ["right", "right"]
    assert js(browser, "document.getElementById('results').checkVisibility()")
