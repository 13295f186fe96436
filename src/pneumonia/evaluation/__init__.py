"""Score the two models on validation and test images, and measure models for other commands.

Begin with `evaluate`, which the stage `evaluate` calls. It uses `threshold` (operating point),
`shifts` and `robustness` (images as from another hospital), `curves` and `subgroups`. `registry`
uses the test in `noninferiority`. `validate`, `compare` and `behaviour` are commands.
This room may import `models`, `inference`, `tracking`, `audit`, `datasets`, `stats`, `images` and
`core`, but not `explain`, `reports` or `registry`.
"""
