"""Types of arrays. N is the number of images, and B is the number of resamples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # (N,), 0 normal, 1 pneumonia
Patients = NDArray[np.str_]  # (N,), the patient of each image
Scores = NDArray[np.floating]  # (N,); a higher score means pneumonia is more likely
Floats = NDArray[np.float64]  # probabilities, (N,), 0 to 1; weights, (B, N); or other floats
