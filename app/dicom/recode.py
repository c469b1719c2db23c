"""Give an Instance out in Explicit VR Little Endian, whatever it is stored in.

Everything streams: a source may be larger than memory. Generators are made for a thread (reading a
source may block); nothing is decoded here, since codecs run in worker processes.
"""

import zlib
from collections.abc import Iterator
from struct import pack

from app.dicom.element_reader import (
    BLOCK,
    ElementReader,
    Readable,
    looks_implicit,
)
from app.dicom.limits import Limits
from app.dicom.rewrite import Rewriter, element
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, TransferSyntax, find
from app.dicom.value_representations import find_vr
from app.errors import InvalidDataset

_PREFIX = b"DICM"
_GROUP_LENGTH = 0x00020000
_TRANSFER_SYNTAX_UID = 0x00020010
_FREE_INFLATION = 64 * 2**20


def to_explicit_little_endian(
    source: Readable, transfer_syntax_uid: str, limits: Limits
) -> Iterator[bytes]:
    """Yield a stored, unencapsulated Instance as a Part 10 stream in Explicit VR Little Endian.

    Pieces are up to 1 MiB. Preamble and File Meta Information stay, but for the Transfer Syntax.
    What has to fail does so when the first piece is asked for, as far as the header goes.

    Raises:
        InvalidDataset: the Transfer Syntax is encapsulated or unknown, or the Data Set cannot be
            understood, or a deflated one grows over the limits.

    Source: PS3.5 §7, Annex A; PS3.10 §7; PS3.18 §8.7.3
    """
    syntax = find(transfer_syntax_uid)
    if syntax is None or syntax.encapsulated:
        raise InvalidDataset(f"{transfer_syntax_uid} is not an uncompressed Transfer Syntax")
    return _gather(_uncompressed(source, syntax, limits))


def _uncompressed(source: Readable, syntax: TransferSyntax, limits: Limits) -> Iterator[bytes]:
    head, offset = rewrite_file_meta(source, limits)
    yield head
    if syntax.deflated:
        yield from _inflate(source, offset, limits)
    else:
        yield from Rewriter(source, offset, syntax, limits).walk()


def rewrite_file_meta(source: Readable, limits: Limits) -> tuple[bytes, int]:
    """Return preamble and File Meta Information for Explicit VR Little Endian.

    The second value says where the Data Set begins. Elements other than the Transfer Syntax UID
    and the group's length stay as they are; a preamble that is not there is zeros.

    Raises:
        InvalidDataset: the group is over the limit, or ends in the middle of an element.

    Source: PS3.10 §7.1
    """
    start = source.read(0, 132)
    marked = start[128:] == _PREFIX
    reader = ElementReader(source, 132 if marked else 0)
    elements: dict[int, bytes] = {}
    implicit = looks_implicit(reader)
    while reader.peek(2) == b"\x02\x00":
        tag, vr, length = reader.header(implicit=implicit)
        if reader.position + length > limits.header_bytes:
            raise InvalidDataset("the File Meta Information is over the limit")
        value = b"".join(reader.blocks(length))
        elements[tag] = element(tag, vr or find_vr(tag, {}, lambda _: None), value)
    elements[_TRANSFER_SYNTAX_UID] = element(
        _TRANSFER_SYNTAX_UID, "UI", EXPLICIT_LITTLE_ENDIAN.encode() + b"\0"
    )
    elements.pop(_GROUP_LENGTH, None)
    group = b"".join(elements[tag] for tag in sorted(elements))
    preamble = start[:128] if marked else bytes(128)
    length_element = element(_GROUP_LENGTH, "UL", pack("<L", len(group)))
    return preamble + _PREFIX + length_element + group, reader.position


def _inflate(source: Readable, offset: int, limits: Limits) -> Iterator[bytes]:
    """Yield the inflated Data Set, which is Explicit VR Little Endian already.

    Source: PS3.5 §A.5
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    most = limits.inflate_ratio * (source.size - offset) + _FREE_INFLATION
    left = min(limits.inflated_bytes, most)
    while not inflater.eof:
        data = inflater.unconsumed_tail
        if not data:
            data = source.read(offset, BLOCK)
            offset += len(data)
        piece = _inflated(inflater, data)
        left -= len(piece)
        if left < 0:
            raise InvalidDataset("the deflated Data Set grows over the limit")
        yield piece


def _inflated(inflater: "zlib._Decompress", data: bytes) -> bytes:
    try:
        piece = inflater.decompress(data, BLOCK)
    except zlib.error:
        raise InvalidDataset("the deflated Data Set cannot be inflated") from None
    if not (data or piece or inflater.eof):
        raise InvalidDataset("the deflated Data Set ends before its end")
    return piece


def _gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that what is sent is neither tiny nor over 1 MiB."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > BLOCK:
            yield b"".join(waiting)
            waiting, size = [], 0
        waiting.append(piece)
        size += len(piece)
    if waiting:
        yield b"".join(waiting)
