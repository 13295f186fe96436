"""What a sender is told when a request or an image cannot be answered.

One line that names the field and the mend. Never a stack trace, a path, or what was sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pneumonia.data.bounds import ImageError

JPEG_PNG_DICOM = "send a JPEG, a PNG or a DICOM radiograph"
MENDS = {
    "corrupt_image": "the file is truncated or corrupt: export or upload it again",
    "empty_file": "the file is empty: choose another or upload it again",
    "not_an_image": f"the file is no image that can be read: {JPEG_PNG_DICOM}",
    "not_a_radiograph": "the DICOM file is no single radiograph: send one grey frame of modality "
    "CR, DX or RG",
    "too_complex": "save the picture anew, as a plain JPEG or PNG",
    "too_elongated": "crop the picture to the image",
    "too_large": "send a smaller version",
    "too_small": "send a larger version",
    "unsupported_dicom": "the DICOM file is stored in a way that is not read: export it "
    "uncompressed, with 8 to 16 bits",
}


@dataclass(eq=False)
class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        code: for programs.
        field: what to change: a header, a parameter, a field of the form, or "body".
        message: for people, one line.
        retry_after: s, where waiting is the mend.
    """

    status: int
    code: str
    field: str
    message: str
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        """The answer, JSON."""
        told = {"code": self.code, "field": self.field, "message": self.message}
        return json.dumps({"error": told}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def image_error(error: ImageError) -> dict[str, str]:
    """Code and message of an image that cannot be read.

    The reason itself may hold the file's own text; only those made of numbers are passed on.
    """
    mend = MENDS[error.code]
    return {
        "code": error.code,
        "message": f"{error}: {mend}" if error.code.startswith("too_") else mend,
    }
