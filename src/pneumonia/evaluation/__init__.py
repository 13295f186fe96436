"""Score the two models on validation and test images, and measure models for other commands.

`evaluate` begins the stage of that name: it uses `threshold` (the operating point), `shifts` and
`robustness` (images as from another hospital), `curves` and `subgroups`. `noninferiority` is the
test that the promotion rule of `registry` uses. `validate`, `compare` and `behaviour` are commands.
May import `models`, `inference`, `tracking`, `audit`, `datasets`, `stats`, `images` and `core`; not
`explain`, `reports` or `registry`.
"""
