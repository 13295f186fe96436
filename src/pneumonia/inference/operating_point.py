"""What is fixed on validation and travels with a model: calibration, threshold, heat scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.stats.calibration import sigmoid


@dataclass(frozen=True)
class OperatingPoint:
    """How a graph's outputs become an answer.

    Attributes:
        slope: probability = sigmoid(slope * logit + intercept), above 0.
        intercept: see there.
        threshold: probability at or above which an image is called pneumonia, 0 to 1.
        map_scale: activation, in the logit's units, shown as the hottest colour; the same for every
            image, so that a faint map looks faint.

    Raises:
        ValueError: a slope that is not above 0 would turn the model's order of images over.
    """

    slope: float
    intercept: float
    threshold: float
    map_scale: float

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"the calibration's slope is {self.slope:g}, not above 0")

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probability of pneumonia, float64, 0 to 1, of the shape of `logits`."""
        return sigmoid(self.slope * logits.astype(np.float64) + self.intercept)
