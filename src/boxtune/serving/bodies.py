"""The body of a request, as it comes, to the images in it; never more of it in memory than the limits say.

What an image is, its content says, later: types and names that a client gives are not believed.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from boxtune.errors import many, printable
from boxtune.serving.limits import Limits, RefusedError, megabytes

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# What is damaged is told by the error, once.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

_FORM = b"multipart/form-data"
_RAW = (b"", b"application/octet-stream", b"binary/octet-stream")
_MOST_FIELDS = 16  # of a form that are no files
_HOW = "send an image as the body with Content-Type: image/jpeg, or images as files of a multipart/form-data"


class Upload(NamedTuple):
    """An image as it was sent: how the client calls it, and its bytes."""

    name: str
    data: bytes


class _Body(Protocol):
    def write(self, chunk: bytes) -> None: ...

    def uploads(self) -> list[Upload]: ...


async def read_uploads(
    headers: Mapping[str, str], chunks: AsyncIterator[bytes], limits: Limits, take: Callable[[int], None]
) -> list[Upload]:
    """Return the images of a request, one or more, in their order.

    Args:
        headers: of the request, by their names in lower case.
        chunks: its body as it arrives.
        limits: what is taken at most.
        take: called with the number of bytes before they are kept; it may raise RefusedError.

    Raises:
        RefusedError: with the status 400, 413, 415 or 422.
    """
    body = _body(headers, limits)
    told = headers.get("content-length", "")
    if told.isdecimal() and int(told) > limits.request_bytes:
        raise _too_large(limits)
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > limits.request_bytes:
            raise _too_large(limits)
        take(len(chunk))
        body.write(chunk)
    return body.uploads()


def _too_large(limits: Limits) -> RefusedError:
    most = megabytes(limits.request_bytes)
    return RefusedError(413, f"the request has more than {most}. Send smaller images, or fewer at a time")


def _body(headers: Mapping[str, str], limits: Limits) -> _Body:
    """Return what takes the body of a request of these headers."""
    if encoding := headers.get("content-encoding", ""):
        raise RefusedError(
            415, f'the Content-Encoding is "{printable(encoding)}". Send the images as they are'
        )
    given = headers.get("content-type", "")
    kind, options = parse_options_header(given)
    if kind == _FORM:
        if not (boundary := options.get(b"boundary")):
            raise RefusedError(
                400, "the Content-Type multipart/form-data has no boundary, which tells its parts"
            )
        return _Form(boundary, limits)
    if kind in _RAW or kind.startswith(b"image/"):
        return _Raw(limits)
    raise RefusedError(415, f'the Content-Type is "{printable(given)}": {_HOW}')


class _File:
    """An image that is being received."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self._most = limits.image_bytes
        self._chunks: list[bytes] = []
        self._size = 0

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._most:
            raise RefusedError(
                413, f"{self.name}: it has more than {megabytes(self._most)}. Send a smaller one"
            )
        self._chunks.append(chunk)

    def upload(self) -> Upload:
        return Upload(self.name, b"".join(self._chunks))


class _Raw:
    """A body that is one image."""

    def __init__(self, limits: Limits) -> None:
        self._file = _File("the image", limits)

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def uploads(self) -> list[Upload]:
        upload = self._file.upload()
        if not upload.data:
            raise RefusedError(422, f"the body of the request is empty: {_HOW}")
        return [upload]


class _Form:
    """A body of multipart/form-data, whose files are images; what else is in it is refused by its name."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        self._limits = limits
        self._files: list[_File] = []
        self._fields: list[str] = []
        self._file: _File | None = None
        self._has_ended = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        # What the parser meets is noted and then done, rather than done by what it calls: an object that has a parser
        # which has its methods would stay in memory, with the images, until Python looks for such circles.
        self._met: list[tuple[str, bytes]] = []
        try:
            self._parser = MultipartParser(boundary, _noting(self._met))
        except FormParserError as error:
            raise _no_form(error) from error

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _no_form(error) from error
        for what, data in self._met:
            self._do(what, data)
        self._met.clear()

    def _do(self, what: str, data: bytes) -> None:
        match what:
            case "part_begin":
                self._disposition = b""
            case "header_field":
                self._header += data
            case "header_value":
                self._value += data
            case "header_end":
                self._end_header()
            case "headers_finished":
                self._end_headers()
            case "part_data" if self._file:
                self._file.write(data)
            case "end":
                self._has_ended = True

    def uploads(self) -> list[Upload]:
        if not self._has_ended:
            raise RefusedError(
                400, "the multipart/form-data is cut short: its last boundary is missing. Send it again"
            )
        if self._fields:
            names = ", ".join(f'"{name}"' for name in self._fields)
            raise RefusedError(
                422,
                f"the form has {names}, which is no file: images are sent as files, min_score in the address",
            )
        if not self._files:
            raise RefusedError(422, f"the form has no file: {_HOW}")
        return [file.upload() for file in self._files]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" in options:
            self._begin_file(_text(options[b"filename"]))
            return
        self._file = None
        self._fields.append(printable(_text(options.get(b"name", b""))))
        if len(self._fields) > _MOST_FIELDS:
            raise RefusedError(413, f"the form has more than {_MOST_FIELDS} parts that are no files")

    def _begin_file(self, name: str) -> None:
        if len(self._files) == self._limits.images:
            most = many(self._limits.images, "image")
            raise RefusedError(413, f"the request has more than {most}. Send fewer at a time")
        self._file = _File(printable(name) or f"image {len(self._files) + 1}", self._limits)
        self._files.append(self._file)


def _noting(met: list[tuple[str, bytes]]) -> "MultipartCallbacks":
    """Return the callbacks of a parser that note what it meets, with the bytes if it has some."""

    def some(what: str) -> Callable[[bytes, int, int], None]:
        return lambda data, start, end: met.append((what, data[start:end]))

    def bare(what: str) -> Callable[[], None]:
        return lambda: met.append((what, b""))

    return {
        "on_part_begin": bare("part_begin"),
        "on_header_field": some("header_field"),
        "on_header_value": some("header_value"),
        "on_header_end": bare("header_end"),
        "on_headers_finished": bare("headers_finished"),
        "on_part_data": some("part_data"),
        "on_end": bare("end"),
    }


def _no_form(error: FormParserError) -> RefusedError:
    return RefusedError(400, f"the multipart/form-data is damaged: {printable(str(error))}. Send it again")


def _text(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")
