"""Calibration: fit probabilities to logits, and measure how well probabilities are calibrated.

Only the functions that need SciPy import SciPy, because the server imports `sigmoid`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumonia.stats.arrays import Floats, Labels, Scores

BINS = 10
# Limits of the fitted slope. At 1/20 every probability is about 0.5, at 20 about 0 or 1.
SLOPES = (1 / 20, 20.0)
_CLIP = 1e-12  # the smallest allowed distance of a probability from 0 and 1


def sigmoid(values: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -values))


def logit(probability: Floats) -> Floats:
    """The inverse of the logistic function; first it clips probabilities to 1e-12 to 1 - 1e-12."""
    clipped = np.clip(probability, _CLIP, 1 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)


def fit(method: str, labels: Labels, logits: Scores) -> tuple[float, float]:
    """Fit slope and intercept of probability = sigmoid(slope * logit + intercept).

    The fit minimises the log loss. The targets are Platt's (1999, eq. 11 and after): not 1 and 0,
    but (n1 + 1) / (n1 + 2) and 1 / (n0 + 2). With targets of 1 and 0, a model that separates the
    validation split perfectly would get only probabilities of 0 and 1.

    The method is "platt" (slope and intercept; Platt 1999), "temperature" (slope alone; Guo et al.
    2017) or "none" (slope 1, intercept 0). Both labels must be present. The slope stays within
    `SLOPES`. So it is above 0 even if logits rank in reverse: calibration must not reverse a model.
    """
    if method == "none":
        return 1.0, 0.0
    from scipy.optimize import minimize

    values = logits.astype(np.float64)
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # With standardised logits, slope and intercept have similar sizes, near 1.
    middle, spread = (values.mean(), values.std() or 1.0) if method == "platt" else (0.0, 1.0)
    scaled = (values - middle) / spread
    slopes = spread * SLOPES[0], spread * SLOPES[1]
    shifts = (-50.0, 50.0) if method == "platt" else (0.0, 0.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * scaled + parameters[1]
        residual = sigmoid(z) - target
        gradient = np.array([(residual * scaled).mean(), residual.mean()])
        return float((np.logaddexp(0, z) - target * z).mean()), gradient

    fitted = minimize(
        loss, np.array([spread, 0.0]), jac=True, method="L-BFGS-B", bounds=[slopes, shifts],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )  # fmt: skip
    slope = float(fitted.x[0] / spread)
    return slope, float(fitted.x[1] - slope * middle)


def bins(probability: Floats) -> NDArray[np.int64]:
    """The bin of each image, (N,), 0 to `BINS` - 1; bins hold about equal numbers of images.

    Equal probabilities share a bin, so bins may differ in size, and some bins may be empty.
    """
    edges = np.quantile(probability, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, probability, side="left")


def calibration_gaps(labels: Labels, probability: Floats, weights: Floats) -> Floats:
    """Per bin: (observed share - mean probability) * the bin's share of the images.

    Resamples use the bins of the original images. Returns (B, `BINS`), -1 to 1.
    """
    member = np.eye(BINS)[bins(probability)]
    gaps = weights @ (member * (labels - probability)[:, None])
    return gaps / weights.sum(axis=1, keepdims=True)


def expected_calibration_error(labels: Labels, probability: Floats, weights: Floats) -> Floats:
    """The mean distance between observed share and mean probability over ten equal-count bins.

    The formula is eq. 3 of Guo et al. 2017, with bins of equal count (Nixon et al. 2019), so that
    no bin is almost empty. Chance increases the distance in each bin. So the estimate is too high
    on average, and is above 0 even for a perfect model. Returns (B,), 0 to 1.
    """
    return np.abs(calibration_gaps(labels, probability, weights)).sum(axis=1)


def calibration_error_interval(
    labels: Labels, probability: Floats, resampled: Floats
) -> tuple[float, float]:
    """The 95 % interval of the expected calibration error, found by inverting a test.

    A percentile interval would be wrong: chance biases the estimate upwards, and resampling adds
    this bias again. The bias depends on the true error; it is largest at 0. So every possible error
    is tested. An error is excluded if under 2.5 % of the estimates expected for it are at least as
    high, or at least as low, as the observed estimate (Davison & Hinkley 1997, section 5.4).

    The expected estimates are the tested gaps plus the noise of the resamples. An error is spread
    over the bins in proportion to p (1 - p), as if all logits were shifted by one distance, with
    the sign of the bin's observed gap. The noise is increased where binomial labels with the tested
    gaps would vary more than the observed labels. Otherwise an estimate that is high by chance
    would get too narrow an interval (Wald's interval of a share has this fault, Wilson's does not).
    The interval is extended if it does not contain the estimate.

    `resampled` has the `calibration_gaps`, (B, `BINS`), of resamples of patients. Returns low and
    high, 0 to 1; low is 0 if the data are compatible with perfect calibration.
    """
    gaps = calibration_gaps(labels, probability, np.ones((1, len(labels))))[0]
    error = np.abs(gaps).sum()
    member = np.eye(BINS)[bins(probability)] / len(labels)
    binomial = (probability * (1 - probability)) @ member
    if error == 0 or binomial.sum() == 0:
        return float(error), float(error)
    noise, square = resampled - gaps, (labels - probability) ** 2 @ member
    pattern = np.where(gaps < 0, -1, 1) * binomial / binomial.sum()
    # A gap of g increases the mean of (label - p)^2, the value in `square`, by g (1 - 2p).
    share = np.maximum(member.sum(axis=0), 1e-300)
    increase = (1 - 2 * probability) @ member / share
    # The noise changes an error by at most the sum of the noise's absolute values. So no error
    # above this range passes the test.
    reach = np.quantile(np.abs(noise).sum(axis=1), 0.975)
    tested = np.linspace(0, error + reach, 201)
    as_high = np.empty(len(tested))
    for place, value in enumerate(tested):
        expected = binomial + value * pattern * increase
        excess = np.sqrt(np.maximum(expected / np.maximum(square, 1e-300), 1))
        estimates = np.abs(value * pattern + excess * noise).sum(axis=1)
        as_high[place] = (estimates >= error).mean()
    low = tested[as_high > 0.025].min(initial=error)
    high = tested[as_high < 0.975].max(initial=error)
    return float(low), float(min(high, 1.0))


def calibration_intercept(labels: Labels, probability: Floats, weights: Floats) -> Floats:
    """The shift of all logits that makes the mean probability equal to the observed share.

    This is calibration in the large: the intercept of a logistic regression with the logit as
    offset (Van Calster et al. 2019, BMC Medicine 17:230). 0 is ideal; below 0, probabilities are
    too high. The shift is from -50 to 50, and finite if both classes are present. Returns (B,).
    """
    from scipy.special import expit

    offset = logit(probability)
    observed = weights @ labels
    low, high = np.full(len(weights), -50.0), np.full(len(weights), 50.0)
    shift = np.zeros(len(weights))
    for _ in range(60):
        p = expit(offset + shift[:, None])
        excess, slope = (weights * p).sum(axis=1) - observed, (weights * p * (1 - p)).sum(axis=1)
        low, high = np.where(excess > 0, low, shift), np.where(excess > 0, shift, high)
        # Take Newton's step if it stays within the bracket, otherwise bisect.
        step = shift - excess / np.maximum(slope, 1e-300)
        better = np.where((step > low) & (step < high), step, (low + high) / 2)
        if np.abs(better - shift).max() < 1e-10:
            break
        shift = better
    return shift


def calibration_slope(labels: Labels, probability: Floats, weights: Floats) -> Floats:
    """The slope of a logistic regression of the label on the logit (Cox 1958).

    1 is ideal; below 1 probabilities are too extreme, above 1 not extreme enough. If the classes
    are perfectly separated, Firth's penalty (1993, Biometrika 80:27; Heinze & Schemper 2002) keeps
    the slope finite, though large; otherwise it changes the slope by about 1 / N. The slope is 0 if
    all images have the same probability. Returns (B,).
    """
    from scipy.special import expit

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
        # The leverage of one copy of each image is p (1 - p) x' I^-1 x.
        leverage = (c[:, None] - 2 * b[:, None] * x + a[:, None] * x**2) / determinant[:, None]
        residual = weights * (labels - p + p * (1 - p) * leverage * (0.5 - p))
        first, second = residual.sum(axis=1), residual @ x
        steps = np.stack([c * first - b * second, a * second - b * first]) / determinant
        if np.abs(steps).max() < 1e-9:
            break
        # With few images Newton's steps can oscillate, so shorten steps that change direction.
        turned = (steps * last).sum(axis=0) < 0
        length, last = np.where(turned, length / 2, np.minimum(1, length * 1.5)), steps
        steps = steps * np.minimum(length, 1 / np.maximum(np.abs(steps).max(axis=0), 1e-300))
        intercept, slope = intercept + steps[0], slope + steps[1]
    return slope / spread
