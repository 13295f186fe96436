"""Types of arrays of N images, in B resamples of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # (N,), 0 normal, 1 pneumonia
Patients = NDArray[np.str_]  # (N,), the patient of each image
Scores = NDArray[np.floating]  # (N,), higher for pneumonia
Floats = NDArray[np.float64]  # probabilities, (N,), 0 to 1; weights, (B, N); or as described
