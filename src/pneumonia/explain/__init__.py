"""Heat maps by gradients at any layer, and checks whether the maps can be trusted.

The stage `gradcam_report` uses this room. `gradcam` computes the maps. `checks` runs all checks and
puts the results into sentences; `randomisation`, `road` and `localization` are the single checks.
`gallery` chooses the images to show and writes them to a file. `command` is `pneumonia explain`.

This room may import models, inference, datasets, stats, images and core.
"""
