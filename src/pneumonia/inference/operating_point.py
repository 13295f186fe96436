"""A model's values that are chosen on validation: calibration, threshold and heat map scale."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import InputError
from pneumonia.stats.calibration import sigmoid


@dataclass(frozen=True)
class OperatingPoint:
    """How a graph's outputs become a prediction.

    Raises:
        ValueError: the slope is not above 0; it would reverse the model's ranking of images.
    """

    slope: float  #: probability = sigmoid(slope * logit + intercept), above 0
    intercept: float  #: see `slope`
    threshold: float  #: lowest probability that is labelled PNEUMONIA, 0 to 1
    #: heat map value (in logits) drawn as the hottest colour. It is the same for all images, so
    #: that a weak map looks weak.
    map_scale: float

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"the calibration's slope is {self.slope:g}, not above 0")

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """The calibrated probability of pneumonia: float64, 0 to 1, same shape as `logits`."""
        return sigmoid(self.slope * logits.astype(np.float64) + self.intercept)


@dataclass(frozen=True)
class OperatingPoints:
    """The content of operating_point.json, from `evaluate` or from a registered model."""

    better: str  #: the better model on validation; in a registered model, its name
    #: one operating point per model; the keys are "scratch" and "transfer", or one of these.
    points: dict[str, OperatingPoint]

    @classmethod
    def read(cls, path: Path) -> OperatingPoints:
        """Read the file.

        Raises:
            InputError: the file is missing or damaged.
        """
        try:
            content = json.loads(path.read_bytes())
            points = {name: OperatingPoint(**point) for name, point in content["models"].items()}
            return cls(content["better"], points)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; `make repro` trains the models") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{path}: not an operating point; `dvc repro evaluate` or `make register` writes it"
            ) from None

    def to_json(self) -> str:
        """The text of the file."""
        models = {name: asdict(point) for name, point in self.points.items()}
        return json.dumps({"better": self.better, "models": models}, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(self.to_json(), encoding="utf-8")
