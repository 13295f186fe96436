"""Turning logits into probabilities, and how far probabilities can be believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -values))


BINS = 10
# Slopes outside are not fitted: a temperature of 20 has a probability of a half for every image, and
# one of 0.05 has 0 or 1.
SLOPES = (1 / 20, 20.0)
_CLIP = 1e-12  # probabilities closer than this to 0 or 1 count as this close


def fit(
    method: str, labels: NDArray[np.int64], logits: NDArray[np.floating]
) -> tuple[float, float]:
    """Slope and intercept of probability = sigmoid(slope * logit + intercept).

    All by least log loss against Platt's targets (1999, eq. 11 and after), (n1 + 1) / (n1 + 2) and
    1 / (n0 + 2) in place of 1 and 0: a validation split that is told apart without error would else
    push every probability to 0 or 1.

    Args:
        method: "platt" (both; Platt 1999), "temperature" (slope alone; Guo et al. 2017) or "none"
            (1 and 0).
        labels: (N,), 0 or 1; both present.
        logits: (N,).

    Returns:
        slope, within `SLOPES` and so above 0, also where the logits rank images the wrong way
        round: calibration is not to turn a model over; and intercept.
    """
    if method == "none":
        return 1.0, 0.0
    from scipy.optimize import minimize

    values = logits.astype(np.float64)
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # About their middle and in units of their spread both parameters are of the size of 1.
    middle, spread = (values.mean(), values.std() or 1.0) if method == "platt" else (0.0, 1.0)
    scaled = (values - middle) / spread
    slopes = spread * SLOPES[0], spread * SLOPES[1]
    shifts = (-50.0, 50.0) if method == "platt" else (0.0, 0.0)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = parameters[0] * scaled + parameters[1]
        slip = sigmoid(z) - target
        gradient = np.array([(slip * scaled).mean(), slip.mean()])
        return float((np.logaddexp(0, z) - target * z).mean()), gradient

    found = minimize(
        loss,
        np.array([spread, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[slopes, shifts],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    slope = float(found.x[0] / spread)
    return slope, float(found.x[1] - slope * middle)


def logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the logistic function, of probabilities cut to 1e-12 from 0 and 1."""
    clipped = np.clip(probability, _CLIP, 1 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)


def bins(probability: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each image, (N,), 0 to `BINS` - 1: bins of equal count.

    Equal probabilities share a bin, so some may hold more, others fewer or none.
    """
    edges = np.quantile(probability, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, probability, side="left")


def calibration_gaps(
    labels: NDArray[np.int64], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Observed share less mean probability in ten bins of equal count, each times the bin's share.

    The bins are those of the images, also for resamples of them.

    Args:
        labels: (N,), 0 or 1.
        probability: (N,), 0 to 1.
        weights: (B, N), what each image counts in each resample.

    Returns:
        (B, `BINS`), -1 to 1.
    """
    member = np.eye(BINS)[bins(probability)]
    gaps = weights @ (member * (labels - probability)[:, None])
    return gaps / weights.sum(axis=1, keepdims=True)


def expected_calibration_error(
    labels: NDArray[np.int64], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean distance of observed share and mean probability over ten bins of equal count.

    Guo et al. 2017, eq. 3, with bins of equal count (Nixon et al. 2019), which leave none almost
    empty. The estimate is too high by what chance adds to each bin, and does not reach 0 for a
    perfect model.

    Args: as `calibration_gaps`.

    Returns:
        (B,), 0 to 1.
    """
    return np.abs(calibration_gaps(labels, probability, weights)).sum(axis=1)


def calibration_error_interval(
    labels: NDArray[np.int64], probability: NDArray[np.float64], resampled: NDArray[np.float64]
) -> tuple[float, float]:
    """95 % interval of the expected calibration error by inverting a test of it.

    The estimate is biased upwards by chance, a resample of it once more, and by how much hangs on
    the truth: little where the error is large, most where it is 0. So each possible error is
    tested: it stays in unless fewer than 2.5 % of the estimates that chance would make of it are as
    high as the one found, or as low (Davison & Hinkley 1997, section 5.4). Chance is what resamples
    of patients add to the gaps of the bins. A possible error is spread over the bins as by logits
    that are all off by one distance, that is as p (1 - p), each to the side that its gap is on.
    Chance is as large as in the resamples or, where that is more, as large as binomial labels with
    the tested gaps would make it: an estimate that is high by chance else comes with too little
    of it, as for a share by Wald's interval in place of Wilson's. The interval is stretched to hold
    the estimate, if need be.

    Args:
        labels: (N,), 0 or 1.
        probability: (N,), 0 to 1.
        resampled: (B, `BINS`), `calibration_gaps` of resamples of patients.

    Returns:
        low, high, 0 to 1; low is 0 where a perfect model would do.
    """
    gaps = calibration_gaps(labels, probability, np.ones((1, len(labels))))[0]
    error = np.abs(gaps).sum()
    member = np.eye(BINS)[bins(probability)] / len(labels)
    binomial = (probability * (1 - probability)) @ member
    if error == 0 or binomial.sum() == 0:  # nothing off, or nothing that could be
        return float(error), float(error)
    noise, square = resampled - gaps, (labels - probability) ** 2 @ member
    pattern = np.where(gaps < 0, -1, 1) * binomial / binomial.sum()
    # By a gap g a square of label - p is g (1 - 2p) more on average; see `square`.
    share = np.maximum(member.sum(axis=0), 1e-300)
    more = (1 - 2 * probability) @ member / share
    # What chance adds or takes is at most the sum of its sizes: no error above is left in.
    reach = np.quantile(np.abs(noise).sum(axis=1), 0.975)
    tested = np.linspace(0, error + reach, 201)
    as_high = np.empty(len(tested))
    for place, value in enumerate(tested):
        expected = binomial + value * pattern * more
        excess = np.sqrt(np.maximum(expected / np.maximum(square, 1e-300), 1))
        found = np.abs(value * pattern + excess * noise).sum(axis=1)
        as_high[place] = (found >= error).mean()
    low = tested[as_high > 0.025].min(initial=error)
    high = tested[as_high < 0.975].max(initial=error)
    return float(low), float(min(high, 1.0))


def calibration_intercept(
    labels: NDArray[np.int64], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What must be added to every logit for the mean probability to be the observed share.

    Calibration in the large: the intercept of a logistic regression with the logit as offset (Van
    Calster et al. 2019, BMC Medicine 17:230). 0 is right, below 0: probabilities are too high.
    Sought between -50 and 50; finite whenever both classes are present.

    Args and Returns: as `expected_calibration_error`, but any number.
    """
    offset = logit(probability)
    aim = weights @ labels
    low, high = np.full(len(weights), -50.0), np.full(len(weights), 50.0)
    found = np.zeros(len(weights))
    for _ in range(60):
        p = expit(offset + found[:, None])
        excess, slope = (weights * p).sum(axis=1) - aim, (weights * p * (1 - p)).sum(axis=1)
        low, high = np.where(excess > 0, low, found), np.where(excess > 0, found, high)
        # Newton's step where it stays within what is known, else the middle of that.
        step = found - excess / np.maximum(slope, 1e-300)
        better = np.where((step > low) & (step < high), step, (low + high) / 2)
        if np.abs(better - found).max() < 1e-10:
            break
        found = better
    return found


def calibration_slope(
    labels: NDArray[np.int64], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Slope of a logistic regression of the label on the logit (Cox 1958).

    1 is right; below 1 probabilities are too extreme, above 1 too timid. Images that are told apart
    without error have no maximum of the likelihood; Firth's penalty (1993, Biometrika 80:27; Heinze
    & Schemper 2002) gives a finite slope there, which is then large, and elsewhere changes it by
    little (of the order of 1 / N). 0 where all images have one probability.

    Args and Returns: as `expected_calibration_error`, but any number.
    """
    x = logit(probability)
    spread = x.std()
    if spread < 1e-9:
        return np.zeros(len(weights))
    x = (x - x.mean()) / spread
    share = weights @ labels / weights.sum(axis=1)
    intercept, slope = logit(share), np.zeros(len(weights))
    length, last = np.ones(len(weights)), np.zeros((2, len(weights)))
    for _ in range(100):
        p = expit(intercept[:, None] + slope[:, None] * x)
        information = weights * p * (1 - p)
        a, b, c = information.sum(axis=1), information @ x, information @ x**2
        determinant = np.maximum(a * c - b * b, 1e-300)
        # Leverages of one copy of each image: p (1 - p) x' I^-1 x.
        leverage = (c[:, None] - 2 * b[:, None] * x + a[:, None] * x**2) / determinant[:, None]
        slip = weights * (labels - p + p * (1 - p) * leverage * (0.5 - p))
        first, second = slip.sum(axis=1), slip @ x
        steps = np.stack([c * first - b * second, a * second - b * first]) / determinant
        if np.abs(steps).max() < 1e-9:
            break
        # On few images Newton's steps can go to and fro for ever: shorten those that turn back.
        turned = (steps * last).sum(axis=0) < 0
        length, last = np.where(turned, length / 2, np.minimum(1, length * 1.5)), steps
        steps = steps * np.minimum(length, 1 / np.maximum(np.abs(steps).max(axis=0), 1e-300))
        intercept, slope = intercept + steps[0], slope + steps[1]
    return slope / spread
