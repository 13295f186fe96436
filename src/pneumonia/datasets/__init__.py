"""From a source of images to the prepared folder: squares, masks, and a manifest split by patient.

Imports `core`, `images` and `stats`. `sources` lists the images of a source, `phantom` draws
synthetic ones, `splits` assigns patients to train, val and test, and `prepare` writes the folder.
`manifest` has the records and the files of that folder, which every later room reads. Begin with
`manifest`, then `prepare`.
"""
