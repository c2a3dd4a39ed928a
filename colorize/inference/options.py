"""The options of colorization."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypedDict

from colorize.models.hints import Hint, check_hint
from colorize.utils.checks import whole_number

# The views of a photo, by their number: the scale of the input size, and whether it is mirrored.
VIEWS = {
    1: ((1.0, False),),
    2: ((1.0, False), (1.0, True)),
    6: tuple((scale, mirrored) for scale in (1.0, 0.8, 1.4) for mirrored in (False, True)),
}


MAX_SIZE = 2048  # px; far beyond the sizes that models are trained at
_MAX_SAMPLES = 100  # of a photo; all are held in memory


@dataclass(frozen=True, kw_only=True)
class ColorizeOptions:
    """How photos are colorized, and what is predicted.

    Raises ValueError for a value that is out of range; `Colorizer.validate` checks whether a model
    supports the options.

    Attributes:
        seed: of samples, and of models with noise; the same seed gives the same colors.
        vividness: 1 - temperature of a model with a distribution: from 0 (the mean color, dull) to
            1 (the most likely color, vivid and spotty); None for the model's own.
        size: short side in pixels at which the model sees the photo, at most 2048; None for the
            size that it was trained at.
        hints: color hints (x, y, color) for one photo: a position in pixels of the photo, and a
            color that Pillow knows, such as "#aa3311", or (r, g, b).
        samples: number of samples to draw from the predicted distribution, at most 100; None for
            its annealed mean. Vividness makes samples more alike.
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

    def __post_init__(self) -> None:
        """Check the values; numpy's numbers become Python's."""
        checked: dict[str, object] = {
            "seed": whole_number("seed", self.seed),
            "hints": _checked_hints(self.hints),
        }
        for name, value, high in (
            ("size", self.size, MAX_SIZE),
            ("samples", self.samples, _MAX_SAMPLES),
        ):
            if value is not None:
                checked[name] = whole_number(name, value, 1, high)
        if self.vividness is not None:
            checked["vividness"] = _checked_vividness(self.vividness)
        if self.views is not None:
            if isinstance(self.views, bool) or self.views not in tuple(VIEWS):
                choices = ", ".join(map(str, VIEWS))
                raise ValueError(f"views must be one of {choices}, got {self.views!r}")
            checked["views"] = int(self.views)
        for name, checked_value in checked.items():
            object.__setattr__(self, name, checked_value)


def _checked_vividness(vividness: object) -> float:
    is_number = isinstance(vividness, Real) and not isinstance(vividness, bool)
    if not (is_number and 0 <= vividness <= 1):  # type: ignore[operator]
        raise ValueError(f"vividness must be from 0 to 1, got {vividness!r}")
    return float(vividness)  # type: ignore[arg-type]


def _checked_hints(hints: Sequence[Hint]) -> tuple[Hint, ...]:
    if isinstance(hints, str) or not isinstance(hints, Iterable):
        raise ValueError(f"hints are a list of (x, y, color), got {hints!r}")
    return tuple(check_hint(hint) for hint in hints)


DEFAULT_OPTIONS = ColorizeOptions()


class CallOptions(TypedDict, total=False):
    """The options of `ColorizeOptions` that can be passed to a `Colorizer` as keywords."""

    seed: int
    vividness: float | None
    size: int | None
    hints: Sequence[Hint]
    views: int | None
