"""Which part of a photo is colorized: prints on pages, in mounts, beside color charts."""

from pathlib import Path

import measure_tones
import numpy as np
import pytest
import torch
from conftest import Fake
from PIL import Image, ImageDraw
from skimage.data import astronaut, camera, chelsea
from skimage.transform import resize

from colorize import load_samples
from colorize.color.lab import rgb_to_lab
from colorize.inference.batch import colorize_file, colorize_files
from colorize.inference.colorizer import Colorizer
from colorize.inference.jobs import plan_jobs
from colorize.io.grayscale import base_colors
from colorize.io.image import PhotoError
from colorize.io.image_file import read_image_file
from colorize.io.pages import draw_outlines
from colorize.io.prints import PhotoTone, analyze_tone

CASES = Path(__file__).parent / "data" / "cases"
BROWN, GREEN, CREAM = (92, 70, 44), (46, 66, 48), (232, 220, 190)
SEPIA = (1, 0.87, 0.66)


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def gray_print(size=(300, 220), tone=(1, 1, 1)):
    """A gray or toned print of the photographer, with noise of a scanner."""
    gray = resize(camera(), size[::-1], anti_aliasing=True)[..., None] * 255 * np.array(tone)
    noise = np.random.default_rng(0).normal(0, 3, gray.shape)
    return Image.fromarray((gray + noise).round().clip(0, 255).astype(np.uint8))


def color_print(size=(300, 220)):
    return Image.fromarray(astronaut()).resize(size)


def page(*prints, size=(480, 360), color=BROWN, angle=0.0):
    """Prints at (x, y) on a page of one color, turned by an angle; and where they are."""
    noise = np.random.default_rng(1).normal(0, 2, (size[1], size[0], 3))
    image = Image.fromarray((color + noise).round().clip(0, 255).astype(np.uint8))
    mask = Image.new("L", size)
    for print_, corner in prints:
        area = Image.new("L", print_.size, 255).rotate(angle, Image.Resampling.BICUBIC, expand=True)
        image.paste(print_.rotate(angle, Image.Resampling.BICUBIC, expand=True), corner, area)
        mask.paste(area, corner, area)
    return tensor(image), np.asarray(mask) > 127


def overlap(photo_tone, expected):
    """The intersection of the outlined and the expected area, divided by their union."""
    height, width = expected.shape
    outlines = [outline * (width, height) for outline in photo_tone.prints]
    outlined = np.asarray(draw_outlines(outlines, height, width)) > 127
    return (outlined & expected).sum() / (outlined | expected).sum()


def colorful(rgb, threshold=25):
    """Where a photo is in color, by its channels alone."""
    return (rgb.amax(0).int() - rgb.amin(0).int()).numpy() > threshold


@pytest.mark.parametrize("name", ["mounted.jpg", "color-strip.jpg"])
def test_the_print_is_colorized_and_what_surrounds_it_is_kept(name):
    colorizer = Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", "fake")
    image = read_image_file(CASES / name)
    expected = ~colorful(image.rgb)
    photo_tone = analyze_tone(image.rgb)
    assert photo_tone.tone == "gray" and len(photo_tone.prints) == 1
    assert overlap(photo_tone, expected) > 0.98
    colorized = colorize_file(colorizer, image)
    everything = colorize_file(colorizer, image, force=True)
    kept = (colorized == image.rgb).all(0).numpy()
    changed = (colorized == everything).all(0).numpy()
    assert (kept | changed).mean() > 0.98  # all but the feather
    assert kept[~expected].mean() > 0.96 and changed[expected].mean() > 0.98


def test_a_hand_tinted_print_is_left_with_its_reason(tmp_path):
    colorizer = Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", "fake")
    (result,) = colorize_files(colorizer, plan_jobs([CASES / "hand-tinted.jpg"], tmp_path))
    assert (result.state, result.tone) == ("in color", "tinted")
    assert result.reason.endswith(
        "hand-tinted.jpg looks hand-tinted; use --force to replace its colors"
    )
    image = read_image_file(CASES / "hand-tinted.jpg")
    with pytest.raises(PhotoError, match="hand-tinted; use --force"):
        colorize_file(colorizer, image)
    assert not torch.equal(colorize_file(colorizer, image, force=True), image.rgb)


def test_a_kept_page_is_noted(tmp_path):
    colorizer = Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", "fake")
    jobs = plan_jobs([CASES / "mounted.jpg"], tmp_path)
    (result,) = colorize_files(colorizer, jobs)
    assert (result.state, result.tone) == ("colored", "gray")
    assert "is colorized where its print is, the rest is kept; use --force" in result.reason
    (result,) = colorize_files(colorizer, jobs, force=True, overwrite=True)
    assert result.reason == ""


@pytest.mark.parametrize(
    ("tone", "color", "angle"),
    [
        ((1, 1, 1), BROWN, 0),
        ((1, 1, 1), GREEN, 2.5),
        ((1, 1, 1), CREAM, 0),
        (SEPIA, BROWN, 2.5),
        (SEPIA, GREEN, 0),
        (SEPIA, (250, 250, 250), 2.5),
    ],
)
def test_prints_on_pages(tone, color, angle):
    photo, expected = page((gray_print(tone=tone), (70, 60)), color=color, angle=angle)
    photo_tone = analyze_tone(photo)
    assert photo_tone.tone == ("gray" if tone == (1, 1, 1) else "toned")
    assert overlap(photo_tone, expected) > 0.97


def test_prints_of_several_tones_and_in_color_on_one_page():
    old = (gray_print((180, 130)), (20, 20)), (gray_print((180, 130), SEPIA), (230, 20))
    expected = page(*old)[1]
    photo, _ = page(*old, (color_print((180, 130)), (20, 180)))
    photo_tone = analyze_tone(photo)
    assert photo_tone.tone == "toned" and len(photo_tone.prints) == 2
    assert overlap(photo_tone, expected) > 0.97


def test_a_mount_on_the_glass_of_a_scanner():
    mounted, _ = page((gray_print((240, 180)), (30, 30)), size=(300, 240), color=GREEN)
    mount = Image.fromarray(mounted.permute(1, 2, 0).numpy())
    photo, _ = page((mount, (60, 50)), color=(250, 250, 250))
    expected = np.zeros(photo.shape[1:], bool)
    expected[80:260, 90:330] = True
    photo_tone = analyze_tone(photo)
    assert photo_tone.tone == "gray"
    assert overlap(photo_tone, expected) > 0.95


def test_an_oval_print():
    area = Image.new("L", (300, 240))
    ImageDraw.Draw(area).ellipse((0, 0, 299, 239), fill=255)
    image = Image.new("RGB", (400, 320), GREEN)
    image.paste(gray_print((300, 240)), (50, 40), area)
    expected = Image.new("L", image.size)
    expected.paste(area, (50, 40))
    assert overlap(analyze_tone(tensor(image)), np.asarray(expected) > 127) > 0.97


@pytest.mark.parametrize("turns", range(4))
def test_a_chart_on_any_side(turns):
    image = Image.new("RGB", (300, 260), (250, 250, 250))
    image.paste(gray_print(), (0, 0))
    colors = ("blue", "cyan", "green", "yellow", "red", "magenta", "white", "black")
    for index, color in enumerate(colors):
        image.paste(color, (30 * index, 225, 30 * index + 30, 255))
    expected = np.zeros((260, 300), bool)
    expected[:225] = True
    photo = torch.rot90(tensor(image), turns, (1, 2))
    assert overlap(analyze_tone(photo), np.rot90(expected, turns)) > 0.97


def test_color_photos_are_left():
    assert analyze_tone(tensor(color_print())) == PhotoTone("color")
    assert analyze_tone(tensor(chelsea())) == PhotoTone("color")
    assert analyze_tone(page((color_print(), (60, 50)))[0]) == PhotoTone("color")
    street = gray_print((400, 300))
    ImageDraw.Draw(street).regular_polygon((200, 90, 50), 8, fill="red")
    assert analyze_tone(tensor(street)) == PhotoTone("tinted")
    field = gray_print((400, 300))
    field.paste((90, 120, 40), (0, 250, 400, 300))
    assert analyze_tone(tensor(field)).tone in ("tinted", "color")
    assert not analyze_tone(tensor(field)).prints
    sails = Image.new("L", (400, 300))
    for left in (20, 210):
        ImageDraw.Draw(sails).polygon([(left, 280), (left + 170, 280), (left + 90, 20)], fill=255)
    boat = Image.new("RGB", (400, 300), BROWN)
    boat.paste(gray_print((400, 300)), (0, 0), sails)
    assert not analyze_tone(tensor(boat)).prints


def test_a_toned_photo_with_a_plain_background_is_colorized_as_a_whole():
    wall = Image.fromarray(np.full((300, 400, 3), 180 * np.array(SEPIA)).round().astype(np.uint8))
    wall.paste(gray_print((200, 150), SEPIA), (100, 75))
    assert analyze_tone(tensor(wall)) == PhotoTone("toned")


def spotted(color, tone):
    """A print with spots of a color, as dense as that of foxing."""
    density = Image.new("L", (300, 220))
    for x, y in np.random.default_rng(2).integers(0, 220, (90, 2)).tolist():
        ImageDraw.Draw(density).circle((1.3 * x, y), 3, fill=255)
    absorption = np.asarray(density)[..., None] / 255 * np.array(color)
    values = np.asarray(gray_print(tone=tone)) * np.exp(-absorption)
    return torch.from_numpy(values.round().astype(np.uint8)).permute(2, 0, 1)


@pytest.mark.parametrize("tone", [(1, 1, 1), SEPIA], ids=["gray", "sepia"])
def test_foxing_is_no_color(tone):
    assert analyze_tone(spotted((0.1, 0.4, 0.8), tone)).tone in ("gray", "toned")


def test_spots_of_ink_are_colors():
    assert analyze_tone(spotted((0.8, 0.4, 0), (1, 1, 1))) == PhotoTone("tinted")


def test_the_base_colors_are_those_of_most_pixels():
    lightness = torch.linspace(-1, 1, 400).expand(1, 30, 400)
    ab = torch.stack((torch.zeros(30, 400), 0.1 + 0.05 * lightness[0]))
    stained = ab.clone()
    stained[:, :9] = 0.4  # 30 %
    base = base_colors(lightness, stained)
    middles = (torch.arange(40) + 0.5) / 20 - 1
    expected = 110 * torch.stack((torch.zeros(40), 0.1 + 0.05 * middles))
    torch.testing.assert_close(base, expected, atol=0.6, rtol=0)


def test_surroundings_are_kept_to_the_bit_in_16_bits():
    rgb = torch.arange(3 * 40 * 60, dtype=torch.int32).view(3, 40, 60).mul(9).to(torch.uint16)
    colorized = torch.full((3, 40, 60), 65535, dtype=torch.int32).to(torch.uint16)
    left = np.array([(0, 0), (0.5, 0), (0.5, 1), (0, 1)])
    blended = PhotoTone("gray", (left,)).keep_surroundings(rgb, colorized)
    assert blended.dtype == torch.uint16
    values, before = blended.int(), rgb.int()
    assert torch.equal(values[..., 32:], before[..., 32:])
    assert (values[..., :28] == 65535).all()
    assert PhotoTone("gray").keep_surroundings(rgb, colorized) is colorized


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 3), (7, 40), (300, 5)])
def test_photos_of_few_pixels(size):
    noise = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(0))
    analyze_tone(noise.to(torch.uint8))
    plain = torch.tensor(BROWN, dtype=torch.uint8).view(3, 1, 1).expand(3, *size).clone()
    plain[:, size[0] // 2 :, size[1] // 2 :] = 128
    analyze_tone(plain)
    lightness, ab = rgb_to_lab(plain)
    assert base_colors(lightness, ab).isfinite().all()


def test_measured_tones_count_every_photo(monkeypatch):
    monkeypatch.setattr(measure_tones, "_SIDE", 120)
    photos = [photo.path for photo in load_samples().photos]
    rows = measure_tones.measure(photos, color_photos=2, cases=1, seed=0)
    tones = ("gray", "toned", "tinted", "color")
    assert [sum(row.get(tone, 0) for tone in tones) for row in rows] == [2, *[1] * 12]
    assert rows[0]["color"] == 2
    assert not any("color" in row for row in rows if row["is_old"])
    assert rows == measure_tones.measure(photos, color_photos=2, cases=1, seed=0)
    with pytest.raises(ValueError, match=f"needs more than {len(photos)} photos"):
        measure_tones.measure(photos, len(photos) - 3, 1, 0)
