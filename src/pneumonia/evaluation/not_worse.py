"""Whether one model is not worse than another: the rule by which a version becomes champion.

A test of non-inferiority, twice: on the validation films as they are, and in the mean over the
shifts of `evaluation.shifts` that models are chosen by. Each time the interval of the difference in
AUC, candidate less champion, paired by film and clustered by patient (`evaluation.delong`), at
`level`, two-sided, has to begin at -`margin` or above. Both have to hold, so the level needs no
correction for there being two (Berger 1982, Technometrics 24:295).

Films as they are alone would decide too little: among good models their AUC saturates, and of two
that make no error the interval is [0, 0].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.data.image import decode, encode_png
from pneumonia.evaluation.delong import paired_mean_auc
from pneumonia.evaluation.robustness import NOT_IN_MEAN, draw
from pneumonia.evaluation.shifts import SHIFTS, shifted
from pneumonia.params import EvaluateParams, PromotionParams
from pneumonia.predictor import Graph

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """A candidate held against the champion.

    Attributes:
        films, patients, conditions: how many; the AUCs are means over the conditions.
        candidate, champion: AUC, 0 to 1.
        difference: candidate less champion.
        low, high: interval of the difference.
    """

    films: int
    patients: int
    conditions: int
    candidate: float
    champion: float
    difference: float
    low: float
    high: float


def compare(
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    candidate: Logits,
    champion: Logits,
    level: float,
) -> Comparison:
    """Hold one model against another.

    Args:
        labels: (N,), 0 or 1, both present.
        patients: (N,), who is on a film.
        candidate, champion: logits, (C, N), a row a condition.
        level: of the interval.
    """
    found = paired_mean_auc(labels, champion, candidate, patients)
    counted = len(labels), len(np.unique(patients)), len(candidate)
    return Comparison(*counted, found.second, found.first, found.difference, *found.interval(level))


def not_worse(comparisons: Sequence[Comparison], params: PromotionParams) -> bool:
    """The rule; see above."""
    return all(one.low >= -params.margin for one in comparisons)


def comparisons(
    candidate: Graph,
    champion: Graph,
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    params: EvaluateParams,
) -> tuple[Comparison, Comparison]:
    """On the films as they are, and on those that robustness is measured on, shifted.

    Args:
        candidate, champion: their graphs; not for larger films than these.
        rows: of the manifest, validation films.
        images: uint8, (N, S, S, 1), of those rows.
        params: the level, and which films are shifted how.
    """
    labels = rows["label"].to_numpy()
    patients = rows["patient_id"].to_numpy(dtype=str)
    level = params.promotion.level
    # By hash: the same graph served by other code is scored once.
    graphs = {graph.sha256: graph for graph in (candidate, champion)}
    plain = {key: [_logits(graph, images)] for key, graph in graphs.items()}
    drawn = draw(rows, params.shift_films, params.seed)
    ids = rows["image_id"][drawn].tolist()
    changed: dict[str, list[Logits]] = {key: [] for key in graphs}
    for shift, spec in SHIFTS.items():
        for strength in spec.amounts if shift != NOT_IN_MEAN else ():
            seen = shifted(images[drawn], ids, shift, strength, params.seed)
            for key, graph in graphs.items():
                changed[key].append(_logits(graph, seen))

    def between(
        logits: dict[str, list[Logits]], labels: NDArray[np.int64], patients: NDArray[np.str_]
    ) -> Comparison:
        ours, theirs = (np.stack(logits[graph.sha256]) for graph in (candidate, champion))
        return compare(labels, patients, ours, theirs, level)

    return between(plain, labels, patients), between(changed, labels[drawn], patients[drawn])


def _logits(graph: Graph, images: NDArray[np.uint8]) -> Logits:
    """(N,); a graph for smaller films gets these as its served model would make them of them."""
    if images.shape[1] != graph.size:
        squares = [decode(encode_png(image[..., 0]), graph.size).pixels for image in images]
        images = np.stack(squares)[..., None]
    return graph.run(images)[0]
