"""Models: the two networks, their training, and the export to ONNX.

Imports `tracking`, `datasets`, `images` and `core`. Of the rooms above, `explain` loads networks to
compute their gradients, and `search` trains networks. All other code after training runs the
exported graph.

Begin with `training.py` (a stage from images to files) and `scratch.py` (the smaller network). Then
read `loop.py` (the training loop), `batches.py` and `augmentation.py` (the input of the loop),
`transfer.py`, `backbones.py` (add another backbone there), and `export.py` (head and graph).
"""
