"""Statistics of scores and decisions: metrics, intervals, calibration, and paired comparisons.

Imports `core` and `images`, though today it needs neither: arrays in, numbers out. Every interval
counts patients, not images, because images of one patient are alike. `metrics` has all figures of a
model with their intervals; `bootstrap` and `delong` have the two methods behind them; `calibration`
turns logits into probabilities; `paired` compares two models. Begin with `metrics`.
"""
