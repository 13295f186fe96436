"""Heat maps by gradients at any layer, and the checks of what the maps are worth.

Used by the stage `gradcam_report`. `gradcam` computes the maps, `checks` runs every check and puts
the results into sentences; `randomisation`, `road` and `localization` are the single checks.
`gallery` chooses the images to show and writes them to a file. `command` is `pneumonia explain`.

May import models, inference, datasets, stats, images and core.
"""
