"""Models: the two networks, their training, and the export to ONNX.

Imports `tracking`, `datasets`, `images` and `core`. Of the rooms above, `explain` loads networks
for their gradients and `search` trains them; everything else after training runs the exported
graph.

Begin with `training.py` (a stage from images to files) and `scratch.py` (the smaller network). Then
`loop.py` (the loop of both), `batches.py` and `augmentation.py` (what it is fed), `transfer.py`
with `backbones.py`, where another backbone is added, and `export.py` (head and graph).
"""
