"""Statistics of scores and decisions: metrics, intervals, calibration, and paired comparisons.

It may import `core` and `images`, but needs neither: functions take arrays and return numbers.
Every interval counts patients, not images, because images of one patient are alike. `metrics` has
all figures of a model with their intervals; `bootstrap` and `delong` compute intervals;
`calibration` turns logits into probabilities; `paired` compares two models. Begin with `metrics`.
"""
