"""Predict the colors of key frames, and carry them to the frames between."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from colorize.inference.colorizer import Colorizer
from colorize.inference.options import ColorizeOptions
from colorize.inference.prediction import Prediction, network_lightness
from colorize.video.temporal_smoothing import TemporalSmoother


class FrameColors:
    """Predicts the colors of key frames, and carries them to the frames between."""

    def __init__(
        self,
        colorizer: Colorizer,
        options: ColorizeOptions,
        smoother: TemporalSmoother,
        interval: int,
    ):
        """Start before the first frame.

        Args:
            colorizer: the model.
            options: how it predicts.
            smoother: of the colors.
            interval: of so many frames one is predicted; all without smoothing.

        Raises:
            ValueError: if the interval is below 1.
        """
        if interval < 1:
            raise ValueError(f"the keyframe interval must be at least 1, got {interval}")
        self.colorizer, self.options, self.smoother = colorizer, options, smoother
        self.interval = interval if smoother.momentum else 1
        self._since_prediction = 0

    def predict(self, photos: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the ab (2, h, w) and the lightness (1, h, w) of consecutive frames."""
        first = -self._since_prediction % self.interval
        keys = range(first, len(photos), self.interval)
        self._since_prediction = (self._since_prediction + len(photos)) % self.interval
        predictions = self._predict([photos[key] for key in keys])
        by_frame = dict(zip(keys, predictions, strict=True))
        for number, rgb in enumerate(photos):
            pred = by_frame.get(number)
            if pred is None:
                lightness = network_lightness(rgb, self.options.size or self.colorizer.size)
                ab = self.smoother.propagate(lightness)
                if ab is not None:
                    yield ab, lightness
                    continue
                (pred,) = self._predict([rgb])
            yield self.smoother(pred.lightness, pred.ab[0]), pred.lightness

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on with the next frame."""
        return {"since_prediction": self._since_prediction, "smoother": self.smoother.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on after the frame at which `state` was called."""
        self._since_prediction = state["since_prediction"]
        self.smoother.load_state(state["smoother"])

    def _predict(self, photos: list[Tensor]) -> list[Prediction]:
        return self.colorizer.predict(photos, self.options) if photos else []
