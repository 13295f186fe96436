"""The images in the body of a request, taken apart in memory: nothing is written to disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pneumonia.server.errors import RequestError
from pneumonia.server.invocations import too_many
from pneumonia.server.limits import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


FORM = "multipart/form-data"
FIELD = "files"
MAX_NAME = 255  # characters of a file's name that are given back


@dataclass(frozen=True)
class Upload:
    """A file as it was sent, and the name that it was given, without folders; None without one."""

    name: str | None
    payload: bytes


@dataclass
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    payload: bytearray = field(default_factory=bytearray)


class _Form:
    """Callbacks for python-multipart that keep the parts of `files`."""

    def __init__(self, limits: Limits) -> None:
        self.uploads: list[Upload] = []
        self.is_whole = False
        self._limits = limits
        self._part = _Part()
        self._name, self._value = b"", b""
        self._wanted = False
        self._filename: str | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._name.decode("latin-1").lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        given = self._part.headers.get("content-disposition", b"")
        _, options = parse_options_header(given)
        self._wanted = options.get(b"name") == FIELD.encode()
        name = options.get(b"filename")
        self._filename = _shown(name) if name else None
        if self._wanted and len(self.uploads) == self._limits.images:
            raise too_many(self._limits)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._part.payload += memoryview(data)[start:end]

    def _end(self) -> None:
        self.is_whole = True

    def _part_end(self) -> None:
        if self._wanted:
            self.uploads.append(Upload(self._filename, bytes(self._part.payload)))


def read_form(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """The files of a multipart form's field `files`, in their order; other fields are passed over.

    Raises:
        RequestError: 400, not a whole form; 413, over `limits.images` files; 422, no file.
    """
    _, options = parse_options_header(content_type)
    form = _Form(limits)
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
    if not form.is_whole:
        raise error
    if not form.uploads:
        raise RequestError(
            422, "no_files", FIELD, "send at least one image in the form's field `files`"
        )
    return form.uploads


def _shown(name: bytes) -> str | None:
    """A file's name without folders and without what is not for reading."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:MAX_NAME] or None
