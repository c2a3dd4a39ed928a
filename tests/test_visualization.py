"""Figures: gray is gray, titles instead of axes, complete files."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from skimage.color import rgb2lab

from colorize.visualization import (
    ab_histograms,
    comparison,
    gallery,
    gray_photo,
    lab_split,
    loss_curves,
    photo_grid,
    save_figure,
    save_pictures,
    triptychs,
)


def star(photo):
    return rgb2lab(np.asarray(photo))[..., 0]


def shown(figure):
    """The images of a figure, row by row, as arrays."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes]


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.fixture
def red(photo):
    return Image.new("RGB", photo.size, (200, 30, 30))


@pytest.fixture
def ramp():
    """From black at the left to white at the right."""
    return Image.fromarray(np.tile(np.arange(0, 256, 2, dtype=np.uint8), (96, 1)))


def test_gray_photos_are_gray_and_as_bright_as_the_photo(photo):
    gray = gray_photo(photo)
    values = np.asarray(gray)
    assert gray.size == photo.size and (values == values[..., :1]).all()
    assert np.abs(star(gray) - star(photo)).max() < 0.4  # of 8 bits; a negative would be far off


def test_the_gray_column_of_a_drawn_figure_is_not_inverted(ramp, tmp_path):
    file = save_figure(triptychs([ramp.convert("RGB")], [ramp]), tmp_path / "row.png")
    drawn = np.asarray(Image.open(file).convert("RGB"), int)
    height, width = drawn.shape[:2]
    middle = drawn[height // 2, 8 : width // 3 - 8]  # a line through the first column
    assert np.abs(middle - middle[:, :1]).max() == 0
    assert np.corrcoef(middle[:, 0], np.arange(len(middle)))[0, 1] > 0.98


def test_a_grid_of_photos_has_titles_and_no_axes(photo, red):
    figure = photo_grid([[photo, red], [red, photo]], ["one", "two"])
    assert isinstance(figure, Figure) and titles(figure) == ["one", "two"]
    assert len(figure.axes) == 4 and not any(axis.axison for axis in figure.axes)
    for array, expected in zip(shown(figure), (photo, red, red, photo), strict=True):
        assert np.array_equal(array, np.asarray(expected))


def test_a_triptych_is_gray_colorized_ground_truth(photo, red):
    figure = triptychs([red], [photo])
    assert titles(figure) == ["gray", "colorized", "ground truth"]
    for array, expected in zip(shown(figure), (gray_photo(photo), red, photo), strict=True):
        assert np.array_equal(array, np.asarray(expected))


def test_a_comparison_is_gray_each_method_in_order_and_the_ground_truth(photo, red):
    blue = Image.new("RGB", photo.size, (30, 30, 200))
    methods = {"first": [red, red], "second": [blue, blue], "third": [red, blue]}
    figure = comparison(methods, [photo, red])
    assert titles(figure) == ["gray", "first", "second", "third", "ground truth"]
    first, second = (
        [gray_photo(photo), red, blue, red, photo],
        [gray_photo(red), red, blue, blue, red],
    )
    for array, expected in zip(shown(figure), first + second, strict=True):
        assert np.array_equal(array, np.asarray(expected))


def test_a_gallery_shows_each_photo_once_as_a_square_under_its_name(photo, red):
    figure = gallery({"one": photo, "two": red, "three": photo}, columns=2)
    assert titles(figure) == ["one", "two", "three"]
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 0]
    assert not any(axis.axison for axis in figure.axes)
    heights, widths = zip(*(axis.images[0].get_size() for axis in figure.axes[:3]), strict=True)
    assert heights == widths


def test_the_split_shows_lightness_in_gray_and_colors_at_one_lightness(photo):
    figure = lab_split(photo)
    assert len(titles(figure)) == 3
    whole, lightness, colors = (rgb2lab(array) for array in shown(figure))
    assert np.array_equal(shown(figure)[0], np.asarray(photo))
    assert np.abs(lightness[..., 0] - whole[..., 0]).max() < 0.4
    assert np.abs(lightness[..., 1:]).max() < 0.1
    assert np.abs(colors[..., 0] - 65).max() < 0.4
    hue, true_hue = (np.arctan2(lab[..., 2], lab[..., 1]) for lab in (colors, whole))
    strong = np.hypot(whole[..., 1], whole[..., 2]) > 20
    assert np.abs(np.sin((hue - true_hue)[strong])).max() < 0.1


def test_a_missing_prediction_is_an_error(photo):
    with pytest.raises(ValueError):
        comparison({"first": [photo]}, [photo, photo])
    with pytest.raises(ValueError):
        photo_grid([[photo, photo]], ["one title"])


def test_loss_curves_show_each_history_with_labelled_axes():
    losses = {"autoencoder": [3.0, 2.0, 2.5], "fcn": [1.0]}
    histories = {
        name: [{"epoch": i + 1, "val": {"loss": loss}} for i, loss in enumerate(values)]
        for name, values in losses.items()
    }
    figure = loss_curves(histories, {"fcn": {"gray": 1.5, "mean-ab": 1.2}})
    assert titles(figure) == ["autoencoder", "fcn"]
    assert figure.axes[0].get_ylabel() == "validation loss"
    assert all(axis.get_xlabel() == "epoch" for axis in figure.axes)
    for axis, values in zip(figure.axes, losses.values(), strict=True):
        assert list(axis.lines[0].get_xdata()) == list(range(1, len(values) + 1))
        assert list(axis.lines[0].get_ydata()) == values
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["gray", "mean-ab"] and figure.axes[0].get_legend() is None
    assert figure.axes[1].lines[1].get_ydata()[0] == 1.5


def test_ab_histograms_put_red_right_and_yellow_up_and_count_every_pixel():
    ab = torch.zeros(1, 2, 4, 4)
    ab[:, 0], ab[:, 1, :2] = 0.5, 0.25  # a* = 55; b* = 27.5 for one half, 0 for the other
    figure = ab_histograms({"target": ab, "predicted": torch.zeros(2, 2, 8, 8)})
    panels = figure.axes[:2]
    assert [axis.get_title() for axis in panels] == ["target", "predicted"]
    assert all(axis.get_xlabel().startswith("a*") for axis in panels)
    assert panels[0].get_ylabel().startswith("b*") and figure.axes[2].get_ylabel()
    mesh = panels[0].collections[0]
    shares = np.asarray(mesh.get_array())
    assert shares.sum() == pytest.approx(1)
    edges = mesh.get_coordinates()
    for row, column in np.argwhere(shares):
        (left, bottom), (right, top) = edges[row, column], edges[row + 1, column + 1]
        assert left <= 55 < right and shares[row, column] == pytest.approx(0.5)
        assert bottom <= 27.5 < top or bottom <= 0 < top


@pytest.mark.parametrize("name", ["row.jpg", "row.png", "row.jpeg"])
def test_a_figure_is_saved_as_a_readable_image(photo, tmp_path, name):
    path = save_figure(triptychs([photo], [photo]), tmp_path / "new" / name)
    assert path == tmp_path / "new" / name
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == ("PNG" if name.endswith("png") else "JPEG")
        assert picture.width > 2 * picture.height
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_a_failed_save_leaves_no_incomplete_file(photo, tmp_path):
    path = save_figure(triptychs([photo], [photo]), tmp_path / "row.png")
    before = path.read_bytes()
    figure = triptychs([photo], [photo])
    figure.savefig = lambda file, **options: (file.write_bytes(b"half"), 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_single_images_are_saved_by_their_names(photo, red, tmp_path):
    paths = save_pictures({"438_true": photo, "438_colorized": red}, tmp_path / "examples")
    assert paths == [tmp_path / "examples" / f"438_{what}.jpg" for what in ("true", "colorized")]
    with Image.open(paths[1]) as picture:
        assert picture.size == red.size
        assert np.abs(np.asarray(picture, int) - (200, 30, 30)).max() <= 3
