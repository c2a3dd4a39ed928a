"""The options of colorization."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from colorize.models.hints import Hint

# The views of a photo, by their number: the scale of the input size, and whether it is mirrored.
VIEWS = {
    1: ((1.0, False),),
    2: ((1.0, False), (1.0, True)),
    6: tuple((scale, mirrored) for scale in (1.0, 0.8, 1.4) for mirrored in (False, True)),
}


@dataclass(frozen=True, kw_only=True)
class ColorizeOptions:
    """How photos are colorized, and what is predicted; `Colorizer.validate` checks them.

    Attributes:
        seed: of samples, and of models with noise; the same seed gives the same colors.
        vividness: 1 - temperature of a model with a distribution: from 0 (the mean color, dull) to
            1 (the most likely color, vivid and spotty); None for the model's own.
        size: short side in pixels at which the model sees the photo, at most 2048; None for the
            size that it was trained at.
        hints: color hints (x, y, color) for one photo: a position in pixels of the photo, and a
            color that Pillow knows, such as "#aa3311", or (r, g, b).
        samples: number of samples to draw from the predicted distribution; None for its annealed
            mean. Vividness makes samples more alike.
        uncertainty: whether to compute the uncertainty of the predicted distribution, and with
            several views their disagreement.
        views: how often the model sees the photo, see `VIEWS`; the mean of its outputs counts.
            None for 2 if the model predicts a distribution, else 1.
    """

    seed: int = 0
    vividness: float | None = None
    size: int | None = None
    hints: Sequence[Hint] = ()
    samples: int | None = None
    uncertainty: bool = False
    views: int | None = None


DEFAULT_OPTIONS = ColorizeOptions()


class CallOptions(TypedDict, total=False):
    """The options of `ColorizeOptions` that can be passed to a `Colorizer` as keywords."""

    seed: int
    vividness: float | None
    size: int | None
    hints: Sequence[Hint]
    views: int | None
