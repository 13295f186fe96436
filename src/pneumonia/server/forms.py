"""The images in a multipart form, read in memory: nothing is written to disk.

Starlette's own parser would accept an incomplete form.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from pneumonia.server.errors import RequestError
from pneumonia.server.invocations import too_many_images
from pneumonia.server.limits import Limits

FORM = "multipart/form-data"
FIELD = "files"
MAX_NAME = 255  # characters of a file name in the response


@dataclass(frozen=True)
class Upload:
    """A file as it was sent, and its name without folders; None without a name."""

    name: str | None
    payload: bytes


def read_form(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """The files of a multipart form's field `files`, in their order; other fields are ignored.

    Raises:
        RequestError: 400, malformed or incomplete; 413, over `limits.images` files; 422, no file.
    """
    uploads: list[Upload] = []
    ends: list[bool] = []  # not empty once the form is complete

    def keep(part: Field | File) -> None:
        if part.field_name != FIELD.encode():
            return
        if len(uploads) == limits.images:
            raise too_many_images(limits)
        if isinstance(part, Field):
            uploads.append(Upload(None, part.value or b""))
        else:
            part.file_object.seek(0)
            uploads.append(Upload(_clean(part.file_name or b""), part.file_object.read()))

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    try:
        parser = FormParser(
            FORM, keep, keep, lambda: ends.append(True), boundary,
            config={"MAX_MEMORY_FILE_SIZE": inf},
        )  # fmt: skip
        parser.write(body)
        parser.finalize()
    except FormParserError:
        ends.clear()
    if not ends:
        raise RequestError(
            400, "unreadable_form", "body",
            f"the form is incomplete or malformed: send {FORM} with its boundary",
        )  # fmt: skip
    if not uploads:
        raise RequestError(
            422, "no_files", FIELD, "send at least one image in the form's field `files`"
        )
    return uploads


def _clean(name: bytes) -> str | None:
    """A file name without folders and unprintable characters."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:MAX_NAME] or None
