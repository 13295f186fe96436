"""Score many images (`pneumonia score`), on this machine's cores or on a Ray cluster.

Begin with `score.py`: it scores images and writes part files of a Parquet data set. `images.py`
lists and reads images, `output.py` writes the data set, and `command.py` is the command line. This
room may import from all rooms except cli, server and search.
"""
