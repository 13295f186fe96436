"""The audit of a prepared data set: leaks between splits, duplicates, and shortcuts to the label.

It imports `core`, `images`, `stats` and `datasets`. `leaks` counts the data and finds patients and
identical images in two splits. `survey` measures every image once. `duplicates` finds images that
look alike. `shortcuts` measures how well the label can be predicted without the lungs. The stage
`visualize` runs them in this order. Begin with `leaks`.
"""
