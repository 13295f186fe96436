"""Scoring of many images: `pneumonia score`, on this machine's cores or on a Ray cluster.

Begin with `score.py`, which goes from images to part files of a Parquet data set. `images.py` lists
images and reads them, `output.py` writes the data set, `command.py` is the command line. May import
from all rooms but cli, server and search.
"""
