"""The images in a multipart form, read in memory: nothing is written to disk.

Starlette's own parser accepts an incomplete form, and a field without a file name as text only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pneumonia.server.errors import RequestError
from pneumonia.server.invocations import too_many_images
from pneumonia.server.limits import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


FORM = "multipart/form-data"
FIELD = "files"
MAX_NAME = 255  # characters of a file name in the response


@dataclass(frozen=True)
class Upload:
    """A file as it was sent, and its name without folders; None without a name."""

    name: str | None
    payload: bytes


@dataclass
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    payload: bytearray = field(default_factory=bytearray)


class _FormReader:
    """Callbacks for python-multipart that keep the parts of the field `files`."""

    def __init__(self, limits: Limits) -> None:
        self.uploads: list[Upload] = []
        self.is_complete = False
        self._limits = limits
        self._part = _Part()
        self._header_name, self._header_value = b"", b""
        self._is_file = False
        self._file_name: str | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._part = _Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._part.headers[self._header_name.decode("latin-1").lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _on_headers_finished(self) -> None:
        disposition = self._part.headers.get("content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._is_file = options.get(b"name") == FIELD.encode()
        name = options.get(b"filename")
        self._file_name = _clean(name) if name else None
        if self._is_file and len(self.uploads) == self._limits.images:
            raise too_many_images(self._limits)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._part.payload += memoryview(data)[start:end]

    def _on_part_end(self) -> None:
        if self._is_file:
            self.uploads.append(Upload(self._file_name, bytes(self._part.payload)))

    def _on_end(self) -> None:
        self.is_complete = True


def read_form(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """The files of a multipart form's field `files`, in their order; other fields are ignored.

    Raises:
        RequestError: 400, malformed or incomplete; 413, over `limits.images` files; 422, no file.
    """
    _, options = parse_options_header(content_type)
    form = _FormReader(limits)
    error = RequestError(
        400, "unreadable_form", "body",
        f"the form is incomplete or malformed: send {FORM} with its boundary",
    )  # fmt: skip
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        parser.write(body)
        parser.finalize()
    except (KeyError, FormParserError):
        raise error from None
    if not form.is_complete:
        raise error
    if not form.uploads:
        raise RequestError(
            422, "no_files", FIELD, "send at least one image in the form's field `files`"
        )
    return form.uploads


def _clean(name: bytes) -> str | None:
    """A file name without folders and unprintable characters."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:MAX_NAME] or None
