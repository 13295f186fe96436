"""From a source of images to the prepared folder: squares, masks, and a manifest split by patient.

It imports `core`, `images` and `stats`. `sources` lists the images of a source. `phantom` draws
synthetic images. `splits` assigns patients to train, val and test. `prepare` writes the folder.
`manifest` has the records and the files of this folder, which every later room reads. Begin with
`manifest`, then `prepare`.
"""
