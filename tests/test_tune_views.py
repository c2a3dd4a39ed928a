"""Views, prior strengths and temperatures are compared, on tiny photos."""

import pytest
import release_model
import torch
import tune_views

from colorize.color.lab import rgb_to_lab
from colorize.inference.colorizer import Colorizer
from colorize.inference.options import ColorizeOptions
from colorize.io.image import photo_to_rgb
from colorize.models.layers import upsample_like


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    """Two photos are listed; one set of views is compared on squares of 160 px."""
    listed = tmp_path / "validation.txt"
    listed.write_text("val0.jpg\nval1.jpg\n")
    for module in (release_model, tune_views):
        monkeypatch.setattr(module, "VALIDATION", listed)
    monkeypatch.setattr(release_model, "SIZE", 32)
    monkeypatch.setattr(tune_views, "SIDE", 160)
    monkeypatch.setattr(tune_views, "SETS", ("160m",))
    monkeypatch.setattr(tune_views, "PRIOR_STRENGTHS", (1.0, 0.7))
    monkeypatch.setattr(tune_views, "TEMPERATURES", (0.2,))


def test_two_photos_are_measured_and_reported(folder, tmp_path, monkeypatch, capsys):
    words = ["--data", folder, "-o", tmp_path / "results.pt", "--degraded", 1]
    monkeypatch.setattr("sys.argv", ["tune_views.py", *map(str, words)])
    assert tune_views.main() == 0
    printed = capsys.readouterr().out
    clean, degraded = printed.split("## Degraded photos: 1\n")
    assert clean.startswith("## Validation photos: 2\n")
    values = torch.load(tmp_path / "results.pt")["values"]
    assert list(values) == ["ground-truth", "gray", "mean-ab", "160m 1 0.2", "160m 0.7 0.2"]
    error, _, _, color, color_error, _ = values["ground-truth"][:2].unbind(1)
    assert (error < 1).all() and (color > 20).all() and (color_error == 0).all()
    assert torch.allclose(values["gray"][:2, 3:5], torch.stack((0 * color, color), 1), atol=0.1)
    for section, rows in ((clean, slice(2)), (degraded, slice(2, 3))):
        assert f"| gray | {values['gray'][rows, 0].mean():.2f} |" in section
    monkeypatch.setattr("sys.argv", ["tune_views.py", "-o", str(tmp_path / "results.pt")])
    assert tune_views.main() == 0 and capsys.readouterr().out == printed


def test_the_settings_of_the_bundled_model_predict_as_the_library_does(photo, monkeypatch):
    colorizer = Colorizer.from_pretrained(device="cpu")
    rgb = photo_to_rgb(photo.resize((160, 160)))
    (prediction,) = colorizer.predict([rgb], ColorizeOptions(size=160, views=2))
    strength, temperature = colorizer.network.prior_strength, colorizer.network.temperature
    monkeypatch.setattr(tune_views, "PRIOR_STRENGTHS", (strength,))
    monkeypatch.setattr(tune_views, "TEMPERATURES", (temperature,))
    colorizer.network.prior_strength = 1
    lightness = rgb_to_lab(rgb)[0][None]
    logits = tune_views.view_logits(colorizer.network, lightness)
    ((_, ab),) = tune_views.predict_settings(logits, colorizer.network.class_weights)
    assert torch.allclose(upsample_like(ab, lightness), prediction.ab, atol=1e-4)


def test_the_choice_has_the_lowest_error_of_the_colorful_settings():
    rows = {"ground-truth": (0, 50), "gray": (5, 0), "160 1 0.2": (9, 45), "160 0.7 0.2": (7, 41)}
    rows |= {"224 0.7 0.2": (8, 40), "160 0.3 0.2": (6, 39)}
    table = {
        name: {"mean ab distance": error, "colorfulness": color, "stains": 1.0}
        for name, (error, color) in rows.items()
    }
    assert tune_views.choose(table, 0.8) == "160 0.7 0.2"
    assert tune_views.choose(table, 0.8, "224") == "224 0.7 0.2"
    assert tune_views.choose(table, 0.95) is None
    # Between (41, 7) and (45, 9): 42.5 lies at 3 / 8 of the way.
    assert "| 160, 0.2 | 7.75 / 1.000 |" in tune_views.frontier(table)
