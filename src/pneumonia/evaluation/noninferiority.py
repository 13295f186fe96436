"""Test whether a candidate is not worse than the champion; the promotion rule uses this test.

There are two tests on the validation images: one on unshifted images, and one on the mean over the
shifts of `evaluation.shifts`. Each test computes the difference in AUC (candidate minus champion)
and its two-sided interval at `level`, paired by image and clustered by patient (`stats.delong`). A
test passes if the whole interval is at `-margin` or above. Both tests must pass, so `level` needs
no correction for two tests (Berger 1982, Technometrics 24:295).

The unshifted images alone are not enough, because all good models have an AUC near 1 on them. If
two models make no error, the interval is [0, 0].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams, PromotionParams
from pneumonia.evaluation.robustness import (
    NOT_IN_MEAN,
    UNSHIFTED,
    ShiftedLogits,
    draw_images,
    shifted_logits,
)
from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.predictor import Graph
from pneumonia.stats.delong import paired_auc

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class ValidationLogits:
    """Logits of a graph for the validation images."""

    sha256: str  #: hash of the graph
    unshifted: Logits  #: for all validation images, (N,)
    #: for the images on which robustness is measured, (C, n). Each shift and strength that counts
    #: in the mean has one row.
    shifted: Logits


def select_validation(
    sha256: str, logits: Logits, rows: pd.DataFrame, shifted: ShiftedLogits, model: str
) -> ValidationLogits:
    """Select the logits of the validation images from the logits of several splits.

    Args:
        logits: logits of the unshifted images, (N,).
        rows: the manifest's rows for the same images.
    """
    averaged = [shift not in (UNSHIFTED, NOT_IN_MEAN) for shift, _ in shifted.conditions]
    is_val = (rows["split"] == "val").to_numpy()
    drawn_is_val = (shifted.rows["split"] == "val").to_numpy()
    return ValidationLogits(
        sha256, logits[is_val], shifted.logits[model][np.array(averaged)][:, drawn_is_val]
    )


def run_graph(
    graph: Graph, rows: pd.DataFrame, images: NDArray[np.uint8], params: EvaluateParams
) -> ValidationLogits:
    """Run a graph on validation images, unshifted and shifted.

    Args:
        graph: its input size is the size of `images` or smaller.
        images: uint8, (N, S, S, 1), the images of `rows`.
    """
    sized = graph if graph.size == images.shape[1] else _DownscalingGraph(graph)
    logits = sized.run(images)[0]
    shifted = shifted_logits(
        {"": sized}, {"": logits}, rows, images, params.shift_images, params.seed
    )
    return select_validation(graph.sha256, logits, rows, shifted, "")


def write_logits(path: Path, logits: dict[str, ValidationLogits]) -> None:
    """Write the logits of each model to one .npz file; equal logits give equal bytes."""
    arrays: dict[str, Any] = {
        f"{model}.{name}": value
        for model, of_model in logits.items()
        for name, value in vars(of_model).items()
    }
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_logits(path: Path, model: str) -> ValidationLogits:
    """Read the logits of one model from a file that `write_logits` wrote."""
    with np.load(path) as arrays:
        return ValidationLogits(
            str(arrays[f"{model}.sha256"]),
            arrays[f"{model}.unshifted"],
            arrays[f"{model}.shifted"],
        )


@dataclass(frozen=True)
class AucDifference:
    """The difference in AUC between a candidate and the champion."""

    #: number of images, patients and conditions; the AUCs are means over the conditions.
    images: int
    patients: int
    conditions: int
    #: AUC of each model, 0 to 1.
    candidate: float
    champion: float
    difference: float  #: candidate minus champion
    #: the bounds of the interval of the difference.
    low: float
    high: float


def auc_difference(
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    candidate: Logits,
    champion: Logits,
    level: float,
) -> AucDifference:
    """Compare the AUC of two models.

    Args:
        labels: (N,), 0 or 1, both present.
        patients: (N,), patient of each image.
        candidate, champion: logits of each model, (C, N), one row per condition.
    """
    paired = paired_auc(labels, champion, candidate, patients)
    return AucDifference(
        len(labels), len(np.unique(patients)), len(candidate),
        paired.second, paired.first, paired.difference, *paired.interval(level),
    )  # fmt: skip


def compare_with_champion(
    candidate: ValidationLogits,
    champion: Graph,
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    params: EvaluateParams,
    level: float,
) -> tuple[AucDifference, AucDifference]:
    """Compare candidate and champion, first on the unshifted images, then on the shifted images.

    Args:
        champion: the champion's graph; its input size is the size of `images` or smaller. If
            candidate and champion have the same graph, the graph is not run again.
        images: uint8, (N, S, S, 1), the images of `rows`.
    """
    same = champion.sha256 == candidate.sha256
    reference = candidate if same else run_graph(champion, rows, images, params)
    drawn = rows[draw_images(rows, params.shift_images, params.seed)]

    def compare(table: pd.DataFrame, first: Logits, second: Logits) -> AucDifference:
        patients = table["patient_id"].to_numpy(dtype=str)
        return auc_difference(table["label"].to_numpy(), patients, first, second, level)

    return (
        compare(rows, candidate.unshifted[None], reference.unshifted[None]),
        compare(drawn, candidate.shifted, reference.shifted),
    )


def not_worse(differences: Sequence[AucDifference], params: PromotionParams) -> bool:
    """Whether the candidate passes every test of non-inferiority."""
    return all(difference.low >= -params.margin for difference in differences)


class _DownscalingGraph(Graph):
    """A graph that first reduces larger images to its input size, as the served model would."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self.sha256, self.size = graph, graph.sha256, graph.size

    def run(
        self, images: NDArray[np.uint8], on_one_core: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Do the same as `Graph.run`, for images of any size."""
        squares = [decode(encode_png(image[..., 0]), self.size).pixels for image in images]
        return self._graph.run(np.stack(squares)[..., None], on_one_core)
