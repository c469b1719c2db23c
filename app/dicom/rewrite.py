"""Rewrite a Data Set in Explicit VR Little Endian while it streams by.

How it works: one walk over the elements, in their order, that never holds more than a block.
Sequences and items are written with undefined length, so nothing has to be known ahead; the few
VRs that depend on another attribute look for it with a second cursor. What comes out reads in
pydicom, the judge of what a VR is, as the source does. What the scan has forgiven is forgiven here
in the same way. Left out are retired group lengths, which would be wrong, and elements of groups
that no Data Set has.
"""

from collections.abc import Callable, Iterator, Mapping
from struct import pack

from app.dicom.cursor import Cursor
from app.dicom.fragments import walk_fragments
from app.dicom.headers import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    Header,
    as_implicit,
)
from app.dicom.limits import Limits
from app.dicom.members import is_left_out
from app.dicom.native_frames import pixel_word, swap_whole_words
from app.dicom.open_dataset import (
    MAX_DEPTH,
    OpenDataset,
    first_number,
    nearest_number,
    note_number,
    skip_undefined,
    skip_value,
)
from app.dicom.source import Source
from app.dicom.transfer_syntaxes import TransferSyntax
from app.dicom.value_representations import (
    LUT_DESCRIPTOR,
    PIXEL_REPRESENTATION,
    creator_of,
    find_vr,
    is_private,
    is_private_creator,
)
from app.dicom.walk import PIXEL_TAGS
from app.errors import InvalidDataset

ICON_IMAGE_SEQUENCE = 0x00880200
BITS_ALLOCATED = 0x00280100
PIXEL_DATA = 0x7FE00010

_DECISIVE = frozenset({PIXEL_REPRESENTATION, LUT_DESCRIPTOR, BITS_ALLOCATED})
"""Attributes that decide on VRs or byte order: noted as they go by, since a search is dear."""

_WORDS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
"""Bytes of one number; other VRs have no byte order (PS3.5 §7.3)."""

_MARKERS = frozenset({ITEM, ITEM_END, SEQUENCE_END})
_ITEM_START = pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, UNDEFINED)
_ITEM_STOP = pack("<HHL", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
_SEQUENCE_STOP = pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)

IconChanges = Callable[[OpenDataset], Mapping[int, bytes]]
"""What to change in an item of an icon's Sequence."""
HeaderWriter = Callable[[int, str, int], bytes]
"""Encodes what stands before a value, of its tag, VR and length."""


def element_header(tag: int, vr: str, length: int) -> bytes:
    """Encode what stands before a value.

    A value too long for the 16-bit length of its VR becomes UN.

    Source: PS3.5 §6.2.2, §7.1.2
    """
    head = pack("<HH", tag >> 16, tag & 0xFFFF)
    if vr.encode() in LONG_VRS:
        return head + vr.encode() + pack("<HL", 0, length)
    if length > 0xFFFF:
        return head + b"UN" + pack("<HL", 0, length)
    return head + vr.encode() + pack("<H", length)


def implicit_header(tag: int, _vr: str, length: int) -> bytes:
    """Encode what stands before a value where the encoding has no VR.

    Source: PS3.5 §7.1.3
    """
    return pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Encode an element of a value that is at hand, of even length and little endian.

    Source: PS3.5 §7.1.2
    """
    return element_header(tag, vr, len(value)) + value


class Rewriter:
    """A walk over the Data Set that begins at `offset` and goes to the end of `source`.

    `changes` puts another element, wholly encoded, in the place of one of the outermost Data Set,
    or leaves it out (empty); `icon_changes` says the same for an item that may hold Pixel Data of
    its own (of the Icon Image Sequence, or of a private one).
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        syntax: TransferSyntax,
        limits: Limits,
        *,
        changes: Mapping[int, bytes] | None = None,
        icon_changes: IconChanges | None = None,
    ) -> None:
        self._source = source
        self._syntax = syntax
        self._limits = limits
        self._icon_changes = icon_changes
        self._stops_at_native = False
        self._native_length: int | None = None
        self._cursor = Cursor(source, offset)
        encoding = encoding_of(syntax, implicit=self._cursor.stands_implicit())
        self._outermost = OpenDataset(
            offset, source.size, source.size, encoding, changes=changes or {}
        )
        self.at_pixels = False
        """The walk has stopped at the outermost Pixel Data."""
        self.header: HeaderWriter = element_header
        """Writes what stands before a value; `implicit_header` may stand here instead."""

    def walk(self, *, stops_at_native: bool = False) -> Iterator[bytes]:
        """Yield the rewritten elements, in pieces of up to 1 MiB.

        The walk stops at the outermost Pixel Data if it is encapsulated in a syntax of such; with
        `stops_at_native` if it is native, too.

        Raises:
            InvalidDataset: the source cannot be understood.

        Source: PS3.5 §7, Annex A.2
        """
        self._stops_at_native = stops_at_native
        return self._elements(self._outermost)

    def walk_after_pixels(self) -> Iterator[bytes]:
        """Yield what follows the outermost Pixel Data, at which `walk` stopped.

        Raises:
            InvalidDataset: the source cannot be understood.

        Source: PS3.5 §A.4
        """
        self.at_pixels = False
        if self._native_length is None:
            skip_undefined(self._cursor, IMPLICIT_LITTLE, self._source.size, 0)
        else:
            self._cursor.position += self._native_length
        yield from self._elements(self._outermost)

    def walk_with_pixels(self) -> Iterator[bytes]:
        """Yield all rewritten elements, encapsulated Pixel Data copied as it is.

        Raises:
            InvalidDataset: the source cannot be understood.

        Source: PS3.5 §7, §A.4
        """
        yield from self.walk()
        if self.at_pixels:
            self.at_pixels = False
            yield from self._fragments(PIXEL_DATA, "OB", self._outermost)
            yield from self._elements(self._outermost)

    def _elements(self, dataset: OpenDataset) -> Iterator[bytes]:
        cursor = self._cursor
        while cursor.position < dataset.stop and not self.at_pixels:
            header = cursor.header(dataset.encoding, dataset.limit)
            if header is None:
                cursor.position = dataset.limit  # padding, or what the scan let pass
            elif header.tag in _MARKERS:
                if self._ends(header, dataset):
                    return
            elif header.tag == 0 and header.length == 0:
                cursor.skip_zeros(dataset.limit)
            else:
                yield from self._element(header, dataset)

    def _ends(self, header: Header, dataset: OpenDataset) -> bool:
        """Say whether a delimiter ends this Data Set; one that belongs further out is left."""
        if dataset.outer is None:
            return False
        if header.tag != ITEM_END:
            self._cursor.position -= header.size
        return True

    def _element(self, header: Header, dataset: OpenDataset) -> Iterator[bytes]:
        tag = header.tag
        if tag in dataset.changes or is_left_out(tag):
            return self._change(header, dataset)
        vr = self._vr(header, dataset)
        if header.length == UNDEFINED:
            return self._undefined(header, vr, dataset)
        length = min(header.length, max(dataset.limit - self._cursor.position, 0))
        if self._stops_at_native and tag == PIXEL_DATA and dataset.outer is None:
            self.at_pixels, self._native_length = True, length
            return iter(())
        if vr == "SQ":
            return self._sequence(tag, length, dataset, dataset.encoding)
        if is_private_creator(tag):
            self._note_creator(tag, length, dataset)
        elif tag in _DECISIVE:
            note_number(self._cursor, dataset, tag, length)
        return self._value(tag, vr, length, dataset)

    def _vr(self, header: Header, dataset: OpenDataset) -> str:
        """Return the VR to write: that of the source, or of the dictionary if it has none or UN."""
        if header.vr not in {None, "UN"}:
            return header.vr
        if header.vr == "UN" and header.length >= 0xFFFF:
            return "UN"

        def number(tag: int) -> int | None:
            look = nearest_number if tag == PIXEL_REPRESENTATION else first_number
            return look(self._source, dataset, tag)

        return find_vr(header.tag, dataset.creators, number)

    def _note_creator(self, tag: int, length: int, dataset: OpenDataset) -> None:
        name = creator_of(self._cursor.window.read(self._cursor.position, min(length, 64)))
        if name is not None:
            dataset.creators[tag] = name

    def _change(self, header: Header, dataset: OpenDataset) -> Iterator[bytes]:
        skip_value(self._cursor, header, dataset.encoding, dataset.limit, dataset.depth)
        return iter((dataset.changes.get(header.tag, b""),))

    def _value(self, tag: int, vr: str, length: int, dataset: OpenDataset) -> Iterator[bytes]:
        yield self.header(tag, vr, length)
        word = self._word(tag, vr, dataset)
        for block in self._cursor.blocks(length):
            yield block if word == 1 else swap_whole_words(block, word)

    def _word(self, tag: int, vr: str, dataset: OpenDataset) -> int:
        """Return how many bytes are swapped together; 1 if the value is little endian."""
        little_endian = dataset.encoding.little_endian
        if tag == PIXEL_DATA and (not little_endian or self._syntax.big_endian_pixels):
            return pixel_word(vr, first_number(self._source, dataset, BITS_ALLOCATED) or 8)
        return 1 if little_endian else _WORDS.get(vr, 1)

    def _undefined(self, header: Header, vr: str, dataset: OpenDataset) -> Iterator[bytes]:
        tag = header.tag
        if tag == PIXEL_DATA and dataset.outer is None and self._syntax.encapsulated:
            self.at_pixels = True
            return iter(())
        if tag in PIXEL_TAGS:
            return self._fragments(tag, "OB", dataset)
        if not self._is_sequence(header, vr, dataset.encoding):
            return self._fragments(tag, vr, dataset)
        encoding = dataset.encoding
        if header.vr == "UN" and self._at_item(IMPLICIT_LITTLE):
            encoding = IMPLICIT_LITTLE  # whatever is around it (PS3.5 §6.2.2)
        return self._sequence(tag, None, dataset, encoding)

    def _is_sequence(self, header: Header, vr: str, encoding: Encoding) -> bool:
        """Say whether a value of undefined length is a Sequence, as far as its VR tells.

        Source: PS3.5 §6.2.2
        """
        if header.vr is not None:
            return vr in {"SQ", "UN"}
        unknown = vr == "UN" or is_private(header.tag)
        return vr == "SQ" or (unknown and self._at_item(encoding))

    def _at_item(self, encoding: Encoding) -> bool:
        mark = encoding.implicit_header.pack(ITEM >> 16, ITEM & 0xFFFF, 0)[:4]
        return self._cursor.window.peek(self._cursor.position, 4) == mark

    def _fragments(self, tag: int, vr: str, dataset: OpenDataset) -> Iterator[bytes]:
        """Copy a value of undefined length that is no Sequence, encapsulated or plain."""
        cursor = self._cursor
        value = walk_fragments(
            cursor.window, cursor.position, dataset.limit, dataset.encoding, self._limits
        )
        if value.offsets is None or value.lengths is None:
            yield self.header(tag, vr, value.length)
            yield from cursor.blocks(value.length)
        else:
            yield self.header(tag, "OB", UNDEFINED)
            for offset, length in zip(value.offsets, value.lengths, strict=True):
                yield pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, length)
                cursor.position = offset
                yield from cursor.blocks(length)
            yield _SEQUENCE_STOP
        cursor.position = value.end

    def _sequence(
        self, tag: int, length: int | None, dataset: OpenDataset, encoding: Encoding
    ) -> Iterator[bytes]:
        """Write a Sequence; a `length` of None is an undefined one."""
        if length == 0:
            yield self.header(tag, "SQ", 0)
            return
        if dataset.depth >= min(self._limits.nesting_depth, MAX_DEPTH):
            raise InvalidDataset("Sequences are nested too deeply")
        cursor = self._cursor
        limit = dataset.limit if length is None else cursor.position + length
        yield self.header(tag, "SQ", UNDEFINED)
        while (item := self._next_item(encoding, limit)) is not None:
            inner = self._inner(item, limit, dataset, encoding)
            if self._icon_changes is not None and (tag == ICON_IMAGE_SEQUENCE or is_private(tag)):
                inner.changes = self._icon_changes(inner)
            yield _ITEM_START
            yield from self._elements(inner)
            yield _ITEM_STOP
        if length is not None:
            cursor.position = limit
        yield _SEQUENCE_STOP

    def _next_item(self, encoding: Encoding, limit: int) -> int | None:
        """Move into the next item and return its length; None at the Sequence's end."""
        item = self._cursor.item(encoding, limit)
        if item is None or item[0] == SEQUENCE_END:
            return None
        if item[0] != ITEM:
            self._cursor.position -= 8  # a delimiter is missing
            return None
        return item[1]

    def _inner(
        self, length: int, limit: int, outer: OpenDataset, encoding: Encoding
    ) -> OpenDataset:
        start = self._cursor.position
        implicit = encoding.implicit or self._cursor.stands_implicit()
        return OpenDataset(
            start=start,
            stop=limit if length == UNDEFINED else min(start + length, limit),
            limit=limit,
            encoding=as_implicit(encoding) if implicit else encoding,
            outer=outer,
            depth=outer.depth + 1,
        )


def encoding_of(syntax: TransferSyntax, *, implicit: bool) -> Encoding:
    """Return how a Data Set is encoded: as its Transfer Syntax says, unless its start differs.

    Source: PS3.5 §10
    """
    if syntax.big_endian:
        return as_implicit(EXPLICIT_BIG) if implicit else EXPLICIT_BIG
    return IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE
