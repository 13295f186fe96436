"""From the bytes of an image file to the grey square that every model sees.

It imports `core`. The stages, the server and batch scoring all call `decoding.decode` for JPEG, PNG
and DICOM files. `limits` refuses files that would need too much memory or time, before a pixel is
decoded. `dicom` is imported only for DICOM files. Begin with `decoding`.
"""
