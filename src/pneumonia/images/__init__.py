"""From the bytes of an image file to the grey square that every model sees.

Imports `core`. `decoding.decode` is the one entry: JPEG, PNG and DICOM files, in the stages, the
server and batch scoring alike. `limits` refuses files that would cost too much memory or time,
before a pixel is decoded. `dicom` is imported for DICOM files alone. Begin with `decoding`.
"""
