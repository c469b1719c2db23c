"""Multipart bodies (RFC 2046 §5.1, RFC 2387): a reader that streams, and the pieces to write one.

How the reader works. A delimiter is CRLF, two dashes and the boundary. The chunk at hand is
searched for it with `bytes.find`; what lies before it goes out as it is, without a copy where the
whole chunk lies before. Only the end of a chunk that may be the beginning of a delimiter is held
back, at most a delimiter's length, and joined to the next chunk. A boundary has no CR in it, so
the last CR of a chunk is the only place where that can begin.

Rules that must hold:
* Nothing but a delimiter's length and one part's header fields is ever held.
* A delimiter is one only if `--`, or blanks and CRLF, follow it; else it is part of the content
  (a longer boundary of a nested multipart, or bytes that look alike by chance). Content that is
  full of what looks alike goes out in pieces as large as any other.
* The delimiter owns the CRLF before it, also the one that ends the header fields of an empty part.
* A body that ends before its closing delimiter is InvalidMultipart, whatever came before.
* The work is linear in the bytes, however they are cut into chunks.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from app.errors import InvalidMultipart, InvalidRequest, TooLarge

_PADDING = 256
"""Blanks that may follow a boundary on its line."""
_BLANKS = rb"[ \t]{0,%d}" % (_PADDING - 2)
_FOLLOWS = rb"(--|" + _BLANKS + rb"\r\n)"
_AFTER = re.compile(_FOLLOWS)
_AFTER_BEGUN = re.compile(rb"(?:-|" + _BLANKS + rb"\r?)\Z")
_LONGEST_PREAMBLE = 2**16


class Part:
    """One part: its header fields, by lower-case name, and an iterator over its content.

    Content that is not read is skipped when the next part is asked for.
    """

    def __init__(self, headers: Mapping[str, str], reader: "_Reader") -> None:
        self.headers = headers
        self._reader = reader

    def __aiter__(self) -> "Part":
        return self

    async def __anext__(self) -> bytes:
        piece = await self._reader.next_piece()
        if piece is None:
            raise StopAsyncIteration
        return piece


@dataclass(frozen=True, slots=True)
class PartLimits:
    """How many parts a body may have, and how many bytes of header fields each of them."""

    parts: int
    header_bytes: int


class _Next(Enum):
    """What follows a delimiter."""

    PART = auto()
    END = auto()
    CONTENT = auto()


async def read_parts(
    chunks: AsyncIterator[bytes], boundary: str, limits: PartLimits
) -> AsyncIterator[Part]:
    """Yield the parts of a multipart body as it streams in.

    A preamble and an epilogue are skipped; the preamble's lines may end in LF alone. When the last
    part has been yielded and the iteration ends, the whole body has been read.

    Raises:
        InvalidMultipart: the body does not begin as a multipart, ends before its closing delimiter,
            or a header is malformed.
        TooLarge: more parts, or longer headers, than `limits` allow.

    Source: RFC 2046 §5.1.1
    """
    reader = _Reader(chunks, _checked(boundary), limits.header_bytes)
    count = 0
    while await reader.next_part():
        count += 1
        if count > limits.parts:
            raise TooLarge(f"more than {limits.parts} parts in one request")
        yield Part(await reader.headers(), reader)
    async for _ in chunks:
        pass


def _checked(boundary: str) -> bytes:
    if not 1 <= len(boundary) <= 70 or not boundary.isascii() or not boundary.isprintable():
        raise InvalidMultipart("a boundary of 1 to 70 ASCII characters was expected")
    return boundary.encode()


class _Reader:
    """A place (`_at`) in the chunk at hand (`_data`)."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes, header_bytes: int) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary
        self._header_bytes = header_bytes
        self._data = b""
        self._at = 0
        self._passed = 0  # bytes before `_data`
        self._in_preamble = True
        self._in_content = False

    async def _more(self) -> None:
        """Join the next chunk to what is left of this one."""
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise InvalidMultipart("the body ended before its closing boundary")
        self._passed += self._at
        kept = self._data[self._at :]
        self._data, self._at = (kept + chunk if kept else chunk), 0

    async def next_part(self) -> bool:
        """Go to the header fields of the next part; False if there is none."""
        if self._in_preamble:
            self._in_preamble = False
            return await self._skip_preamble() is _Next.PART
        while await self.next_piece() is not None:
            pass
        return not self._ended

    _ended = False

    async def _skip_preamble(self) -> _Next:
        dashes = self._delimiter[2:]
        self._data = await anext(self._chunks, b"")
        if self._data.startswith(dashes):  # as nearly always; a large chunk is not joined then
            follows = await self._follows(len(dashes))
            if follows is not _Next.CONTENT:
                return follows
        self._data = b"\n" + self._data  # the body begins at the beginning of a line
        while self._passed + self._at <= _LONGEST_PREAMBLE:
            found = self._data.find(dashes, self._at + 1)
            if found < 0:  # keep what may be the beginning of a delimiter, and the byte before it
                self._at = max(self._at, len(self._data) - len(dashes))
                await self._more()
                continue
            self._at = found - 1
            if self._passed + self._at <= _LONGEST_PREAMBLE and self._data[self._at] == 0x0A:
                follows = await self._follows(1 + len(dashes))
                if follows is not _Next.CONTENT:
                    return follows
            self._at += 1
        raise InvalidMultipart("no boundary stands where the body begins")

    async def _follows(self, length: int) -> _Next:
        """Say what the delimiter of `length` bytes that begins here is; go to its end if it is one.

        The end is before the CRLF, which thereby stands before the first header field, too.
        """
        while True:
            start = self._at + length
            tail = self._data[start : start + _PADDING]
            if tail.startswith(b"--"):
                self._at = start
                return _Next.END
            rest = tail.lstrip(b" \t")
            if rest.startswith(b"\r\n"):
                self._at = start + len(tail) - len(rest)
                return _Next.PART
            if (rest not in {b"", b"\r"} and tail != b"-") or len(tail) == _PADDING:
                return _Next.CONTENT
            await self._more()

    async def headers(self) -> Mapping[str, str]:
        """Return the header fields that begin here and go to the CRLF before the content."""
        while (end := self._data.find(b"\r\n\r\n", self._at)) < 0:
            self._check_header(len(self._data))
            await self._more()
        self._check_header(end)
        fields = self._data[self._at + 2 : end]
        self._at = end + 2
        self._in_content = True
        await self._enter_content()
        return _parse_fields(fields)

    def _check_header(self, end: int) -> None:
        if end - self._at > self._header_bytes:
            raise TooLarge(
                f"the header fields of a part are longer than {self._header_bytes} bytes"
            )

    async def _enter_content(self) -> None:
        """Step over the CRLF, unless it belongs to the delimiter of a part without content."""
        while len(self._data) - self._at < len(self._delimiter):
            await self._more()
        if not self._data.startswith(self._delimiter, self._at):
            self._at += 2

    async def next_piece(self) -> bytes | None:
        """Return the next bytes of the content, or None at its end."""
        while self._in_content:
            begin = self._at
            found = self._find()
            if found is None:
                self._at = self._held_back()
            else:
                self._at = found.start(1) - len(self._delimiter)
            if self._at > begin:
                return self._data[begin : self._at]
            if found is None:
                await self._more()
            else:
                self._leave_content(found)
        return None

    def _find(self) -> re.Match[bytes] | None:
        """Find what follows the delimiter that ends the content, if this chunk has it whole."""
        if self._data.rfind(self._delimiter, self._at) < 0:  # several times as fast as forwards
            return None
        alike = self._data.find(self._delimiter, self._at)  # much faster than the pattern
        follows = _AFTER.match(self._data, alike + len(self._delimiter))
        return follows or self._pattern.search(self._data, alike + 1)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        """The delimiter; to compile it takes as long as many bodies that have nothing alike."""
        return re.compile(re.escape(self._delimiter) + _FOLLOWS)

    def _leave_content(self, follows: re.Match[bytes]) -> None:
        """Go to the end of a delimiter, which is before the CRLF if another part follows."""
        self._in_content = False
        self._ended = follows[1] == b"--"
        self._at = follows.end() if self._ended else follows.end() - 2

    def _held_back(self) -> int:
        """Return where a delimiter may begin that this chunk does not end; else its length."""
        size, length = len(self._data), len(self._delimiter)
        start = self._data.rfind(self._delimiter, max(self._at, size - length - _PADDING))
        if start >= 0 and _AFTER_BEGUN.match(self._data, start + length):
            return start
        start = self._data.rfind(b"\r", max(self._at, size - length + 1))
        if start >= 0 and self._delimiter.startswith(self._data[start:]):
            return start
        return size


def _parse_fields(block: bytes) -> dict[str, str]:
    """Return header fields by lower-case name, folded lines joined (RFC 5322 §2.2).

    Text is taken as UTF-8, else as Latin-1. Of a field that stands twice the first counts.
    """
    fields: dict[str, str] = {}
    unfolded = block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    for line in filter(None, unfolded.split(b"\r\n")):
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise InvalidMultipart("a header field of a part has no name and colon")
        fields.setdefault(_text(name).lower(), _text(value))
    return fields


def _text(raw: bytes) -> str:
    try:
        return raw.strip().decode()
    except UnicodeDecodeError:
        return raw.strip().decode("latin-1")


def part_header(boundary: str, headers: Mapping[str, str], *, first: bool = False) -> bytes:
    """Return what stands before the content of a part, its delimiter included.

    `first` leaves out the CRLF that belongs to the delimiter: viewers take no preamble, and want
    field names in the case given (`Content-Type`).

    Raises:
        InvalidRequest: a value that would begin another header field.

    Source: RFC 2046 §5.1.1
    """
    lines = [f"{'' if first else chr(13) + chr(10)}--{boundary}"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise InvalidRequest("a header value of one line was expected")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()


def closing(boundary: str) -> bytes:
    """Return what ends a multipart body.

    Source: RFC 2046 §5.1.1
    """
    return f"\r\n--{boundary}--\r\n".encode()
