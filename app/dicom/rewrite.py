"""Rewrite a Data Set in Explicit VR Little Endian while it streams by.

How it works: one walk over the elements, in their order, with a reader that never holds more than
a block. Sequences and items are written with undefined length, so nothing has to be known ahead;
the few VRs that depend on another attribute look for it with a second reader. What is rewritten
reads as the source does in pydicom, which is the judge of what a VR is. Retired group lengths are
left out, since they would be wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from struct import pack

from app.dicom.element_reader import (
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED,
    ElementReader,
    Header,
    Readable,
    looks_implicit,
)
from app.dicom.element_search import Level, first_number, nearest_number, skip_undefined
from app.dicom.limits import Limits
from app.dicom.native_frames import pixel_word, swap_words
from app.dicom.transfer_syntaxes import TransferSyntax
from app.dicom.value_representations import (
    PIXEL_REPRESENTATION,
    creator_of,
    find_vr,
    is_private,
    is_private_creator,
)
from app.errors import InvalidDataset

ICON_IMAGE_SEQUENCE = 0x00880200
BITS_ALLOCATED = 0x00280100
PIXEL_DATA = 0x7FE00010

_WORDS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
"""Bytes of one number; other VRs have no byte order (PS3.5 §7.3)."""

_ITEM_START = pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, UNDEFINED)
_ITEM_STOP = pack("<HHL", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
_SEQUENCE_STOP = pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)

IconChanges = Callable[[Level], Mapping[int, bytes]]
"""What to change in an item of an icon's Sequence."""


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
        source: Readable,
        offset: int,
        syntax: TransferSyntax,
        limits: Limits,
        *,
        changes: Mapping[int, bytes] | None = None,
        icon_changes: IconChanges | None = None,
    ) -> None:
        self._source = source
        self._syntax = syntax
        self._depth = limits.nesting_depth
        self._icon_changes = icon_changes
        self._reader = ElementReader(source, offset, big_endian=syntax.big_endian)
        self._outermost = Level(
            start=offset,
            stop=source.size,
            end=source.size,
            implicit=looks_implicit(self._reader),
            big_endian=syntax.big_endian,
            changes=changes or {},
        )
        self.at_pixels = False
        """The walk has stopped at the outermost Pixel Data, encapsulated in such a syntax."""

    def walk(self) -> Iterator[bytes]:
        """Yield the rewritten elements, in pieces of up to 1 MiB.

        Raises:
            InvalidDataset: the source cannot be understood.

        Source: PS3.5 §7, Annex A.2
        """
        return self._elements(self._outermost)

    def walk_after_pixels(self) -> Iterator[bytes]:
        """Yield what follows the outermost encapsulated Pixel Data, at which `walk` stopped.

        Raises:
            InvalidDataset: the source cannot be understood.

        Source: PS3.5 §A.4
        """
        self.at_pixels = False
        skip_undefined(self._reader, implicit=True, depth=0)
        return self._elements(self._outermost)

    def _elements(self, level: Level) -> Iterator[bytes]:
        reader = self._reader
        while reader.position < level.stop and reader.remaining(level.end) >= 8:
            header = reader.header(implicit=level.implicit)
            if header.tag == ITEM_END:
                return
            yield from self._element(header, level)
            if self.at_pixels:
                return

    def _element(self, header: Header, level: Level) -> Iterator[bytes]:
        tag = header.tag
        if tag in level.changes:
            return self._change(header, level)
        vr = self._vr(header, level)
        if header.length == UNDEFINED:
            return self._undefined(header, vr, level)
        length = min(header.length, self._reader.remaining(level.end))
        if tag & 0xFFFF == 0:
            return self._skip(length)
        if vr == "SQ":
            return self._sequence(tag, length, level)
        if is_private_creator(tag):
            self._note_creator(tag, length, level)
        return self._value(tag, vr, length, level)

    def _vr(self, header: Header, level: Level) -> str:
        """Return the VR to write; that of the source, unless it has none or needs byte order."""
        if header.vr is not None and not (header.vr == "UN" and level.big_endian):
            return header.vr
        if header.vr == "UN" and header.length >= 0xFFFF:
            return "UN"

        def number(tag: int) -> int | None:
            look = nearest_number if tag == PIXEL_REPRESENTATION else first_number
            return look(self._source, level, tag)

        return find_vr(header.tag, level.creators, number)

    def _note_creator(self, tag: int, length: int, level: Level) -> None:
        name = creator_of(self._reader.peek(min(length, 64)))
        if name is not None:
            level.creators[tag] = name

    def _skip(self, length: int) -> Iterator[bytes]:
        self._reader.position += length
        return iter(())

    def _change(self, header: Header, level: Level) -> Iterator[bytes]:
        if header.length == UNDEFINED:
            skip_undefined(self._reader, implicit=level.implicit, depth=level.depth)
        else:
            self._reader.position += header.length
        return iter((level.changes[header.tag],))

    def _value(self, tag: int, vr: str, length: int, level: Level) -> Iterator[bytes]:
        yield element_header(tag, vr, length)
        word = self._word(tag, vr, level)
        for block in self._reader.blocks(length):
            yield block if word == 1 else swap(block, word)

    def _word(self, tag: int, vr: str, level: Level) -> int:
        """Return how many bytes are swapped together; 1 if the source is little endian."""
        if tag == PIXEL_DATA and (level.big_endian or self._syntax.big_endian_pixels):
            return pixel_word(vr, first_number(self._source, level, BITS_ALLOCATED) or 8)
        return _WORDS.get(vr, 1) if level.big_endian else 1

    def _undefined(self, header: Header, vr: str, level: Level) -> Iterator[bytes]:
        tag = header.tag
        if vr in {"SQ", "UN"} or (header.vr is None and is_private(tag)):
            return self._sequence(tag, None, level)
        if tag == PIXEL_DATA and level.outer is None and self._syntax.encapsulated:
            self.at_pixels = True
            return iter(())
        return self._items_as_they_are(tag)

    def _items_as_they_are(self, tag: int) -> Iterator[bytes]:
        """Copy an encapsulated value that nobody decodes."""
        yield element_header(tag, "OB", UNDEFINED)
        while (item := self._reader.item()).tag != SEQUENCE_END:
            length = min(item.length, self._reader.remaining(self._source.size))
            yield pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, length)
            yield from self._reader.blocks(length)
        yield _SEQUENCE_STOP

    def _sequence(self, tag: int, length: int | None, level: Level) -> Iterator[bytes]:
        if length == 0:
            yield element_header(tag, "SQ", 0)
            return
        if level.depth >= self._depth:
            raise InvalidDataset(f"Sequences are nested deeper than {self._depth} levels")
        yield element_header(tag, "SQ", UNDEFINED)
        end = level.end if length is None else self._reader.position + length
        while length is None or self._reader.position < end:
            item = self._reader.item()
            if item.tag == SEQUENCE_END:
                break
            inner = self._inner(item.length, end, level)
            if self._icon_changes is not None and (tag == ICON_IMAGE_SEQUENCE or is_private(tag)):
                inner.changes = self._icon_changes(inner)
            yield _ITEM_START
            yield from self._elements(inner)
            yield _ITEM_STOP
        if length is not None:
            self._reader.position = end
        yield _SEQUENCE_STOP

    def _inner(self, length: int, end: int, outer: Level) -> Level:
        start = self._reader.position
        return Level(
            start=start,
            stop=end if length == UNDEFINED else start + length,
            end=end,
            implicit=outer.implicit or looks_implicit(self._reader),
            big_endian=outer.big_endian,
            outer=outer,
            depth=outer.depth + 1,
        )


def swap(block: bytes, word: int) -> bytes:
    """Swap the bytes of each whole word; what is left over stays.

    Source: PS3.5 §7.3
    """
    whole = len(block) - len(block) % word
    return swap_words(block[:whole], word) + block[whole:]
