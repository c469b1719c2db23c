"""The walk over the elements of a Data Set, its Sequences included.

`walk_level` alternates between two gears. The fast one takes the elements that the memo knows by
their raw bytes; the slow one (`_element`) takes whatever comes next: an element seen for the first
time, a Sequence, Bulk Data, a delimiter, an oddity. Only the slow gear moves the window, warns or
raises. What must hold:

* Positions are absolute. `stop` is where a level ends by declaration, `limit` where the bytes
  that hold it end (of the object or of a Sequence of defined length): an element may pass `stop`,
  as pydicom allows, but never `limit`.
* A level deeper than the limit is refused, so recursion is bounded; every element and item counts,
  so a Data Set that makes us begin again (`Level.restart`) is bounded too.
* What goes into the memo depends on nothing but its key.
"""

from dataclasses import dataclass, field

from app.dicom.charsets import encodings_of
from app.dicom.fragments import Encapsulated, walk_fragments
from app.dicom.headers import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Encoding,
    Header,
    as_implicit,
    is_cut,
    read_header,
    read_item_header,
)
from app.dicom.json_model import (
    BINARY_VRS,
    NUMBER_FORMATS,
    bulk_member,
    encode_member,
    join_members,
    sequence_member,
)
from app.dicom.level import Deferred, Level, NotYetKnown, table_for
from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scanned import BulkPlace
from app.dicom.source import Window
from app.dicom.value_representations import is_certain, is_private
from app.errors import InvalidDataset

MAX_DEPTH = 100
"""Whatever the limit says: each level takes three calls of Python's own bounded stack."""
MEMO_ELEMENT_BYTES = 1024
MEMO_SEQUENCE_BYTES = 16384

PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_SPECIFIC_CHARACTER_SET = 0x00080005


@dataclass(slots=True)
class PixelValue:
    """The outermost Pixel Data: where it is, and its items if it is encapsulated."""

    tag: int
    vr: str
    offset: int
    length: int
    encapsulated: Encapsulated | None = None
    missing: int = 0
    """Bytes that were declared and are not there."""


@dataclass(slots=True)
class Walk:
    """What one scan gathers."""

    window: Window
    limits: Limits
    memo: Memo
    bulk_values: dict[str, BulkPlace] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    pixels: PixelValue | None = None
    count: int = 0
    held: int = 0

    def warn(self, words: str) -> None:
        """Note what had to be recovered, once."""
        self.warnings[words] = None

    def add(self, count: int, held: int) -> None:
        """Count elements and the bytes of their values.

        Raises:
            InvalidDataset: there are too many.
        """
        self.count += count
        self.held += held
        if self.count > self.limits.elements:
            raise InvalidDataset(f"more than {self.limits.elements} Data Elements", 0xC002)
        if self.held > self.limits.header_bytes:
            raise InvalidDataset(
                f"more than {self.limits.header_bytes} bytes beside Bulk Data", 0xC002
            )


def walk_level(walk: Walk, level: Level, position: int, stop: int, limit: int) -> int:
    """Read the elements of a level into its members; return the position after it.

    Raises:
        InvalidDataset: it cannot be understood, is cut short or over a limit.

    Source: PS3.5 §7.1, §7.5
    """
    level.start = position
    gear = _known_implicit if level.encoding.implicit else _known_explicit
    while position < stop:
        position = gear(walk, level, position, stop, limit)
        if position >= stop:
            break
        position, ended = _element(walk, level, position, limit)
        if ended:
            break
    level.complete = True
    for late in level.deferred:
        _value(walk, level, late.header, late.position, late.length)
    return position


def _known_explicit(walk: Walk, level: Level, position: int, stop: int, limit: int) -> int:
    """Take elements of explicit VR as long as the memo knows them."""
    window = walk.window
    data, base = window.data, window.base
    here = first = position - base
    if here < 0:
        return position
    last = min(stop - base, len(data) - 7)
    bound = min(limit - base, len(data))
    unpack = level.encoding.explicit_header.unpack_from
    known = level.table.young.get
    members = level.members
    count = 0
    while here < last:
        group, element, vr, length = unpack(data, here)
        if vr not in SHORT_VRS:
            break
        after = here + 8 + length
        if after > bound:
            break
        member = known(data[here:after])
        if member is None:
            break
        if member:
            members[group << 16 | element] = member
        here = after
        count += 1
    walk.add(count, here - first)
    return base + here


def _known_implicit(walk: Walk, level: Level, position: int, stop: int, limit: int) -> int:
    """Take elements of implicit VR as long as the memo knows them."""
    window = walk.window
    data, base = window.data, window.base
    here = first = position - base
    if here < 0:
        return position
    last = min(stop - base, len(data) - 7)
    bound = min(limit - base, len(data))
    unpack = level.encoding.implicit_header.unpack_from
    known = level.table.young.get
    members = level.members
    count = 0
    while here < last:
        group, element, length = unpack(data, here)
        after = here + 8 + length
        if after > bound or length > MEMO_ELEMENT_BYTES:
            break
        member = known(data[here:after])
        if member is None:
            break
        if member:
            members[group << 16 | element] = member
        here = after
        count += 1
    walk.add(count, here - first)
    return base + here


def _element(walk: Walk, level: Level, position: int, limit: int) -> tuple[int, bool]:
    """Take the next element, whatever it is; return the position after it and if it ends all."""
    head = walk.window.peek(position, 12)[: limit - position]
    if is_cut(head, level.encoding):
        return _tail(walk, level, head, position, limit)
    header = read_header(head, level.encoding)
    walk.add(1, header.size)
    if header.tag >= 0xFFFE0000 or header.tag == 0:
        marker = _marker(walk, level, header, position, limit)
        if marker is not None:
            return marker
    if header.length == UNDEFINED:
        return _undefined(walk, level, header, position, limit), False
    start = position + header.size
    length = header.length
    if start + length > limit:
        length = _clipped(walk, level, header, start, limit)
    if header.tag == _SPECIFIC_CHARACTER_SET and _character_set(walk, level, start, length):
        return level.restart(), False
    _value(walk, level, header, position, length)
    return start + length, False


def _tail(walk: Walk, level: Level, head: bytes, position: int, limit: int) -> tuple[int, bool]:
    """A few bytes that are no element: padding is let pass, half a header is not."""
    if limit == walk.window.size and head.strip(b"\0\r\n "):
        raise InvalidDataset("the object ends within a Data Element", 0xC001)
    if level.depth or head:
        walk.warn("bytes after the last Data Element were passed over")
    return limit, True


def _marker(
    walk: Walk, level: Level, header: Header, position: int, limit: int
) -> tuple[int, bool] | None:
    """Handle delimiters and zeros; None for an ordinary element."""
    if header.tag == ITEM_END:
        if level.depth:
            return position + 8, True
        walk.warn("a delimiter without a Sequence was passed over")
        return position + 8, False
    if header.tag in {SEQUENCE_END, ITEM}:
        if level.depth:
            walk.warn("an item without its delimiter was ended by what follows")
            return position, True
        walk.warn("a delimiter without a Sequence was passed over")
        return position + 8, False
    if header.tag == 0 and not level.depth and _only_zeros(walk.window, position, limit):
        walk.warn("zeros after the last Data Element were passed over")
        return limit, True
    return None


def _only_zeros(window: Window, position: int, limit: int) -> bool:
    while position < limit:
        block = window.read(position, min(2**16, limit - position))
        if block.strip(b"\0"):
            return False
        position += 2**16
    return True


def _clipped(walk: Walk, level: Level, header: Header, start: int, limit: int) -> int:
    """Return how much of a value that runs past the limit is there.

    Within a Sequence of defined length only lengths disagree, and all bytes are kept. At the end
    of the object bytes are missing; whether that matters for Pixel Data its frames will tell.
    """
    if limit < walk.window.size:
        walk.warn("a value is longer than the Sequence that holds it")
    elif level.depth or header.tag not in PIXEL_TAGS:
        raise InvalidDataset("the object ends within a value", 0xC001)
    return max(0, limit - start)


def _character_set(walk: Walk, level: Level, start: int, length: int) -> bool:
    """Take over a Specific Character Set; True if text was read before and must be again."""
    encodings = encodings_of(walk.window.read(start, min(length, 1024)))
    if level.restarted or encodings == level.encodings:
        return False
    level.use_encodings(encodings, walk.memo)
    return any(tag > _SPECIFIC_CHARACTER_SET for tag in level.members)


def _undefined(walk: Walk, level: Level, header: Header, position: int, limit: int) -> int:
    """Take an element of undefined length: a Sequence, or items of bytes; return its end.

    Source: PS3.5 §6.2.2 (UN), §7.5, §A.4
    """
    start = position + header.size
    if _is_sequence(walk, level, header, start):
        encoding = level.encoding
        if header.vr == "UN":
            encoding = _encoding_of_unknown(walk, encoding, start)
        return _sequence(walk, level, header.tag, encoding, (start, limit, limit))
    value = walk_fragments(walk.window, start, limit, level.encoding, walk.limits)
    if not value.delimited:
        walk.warn("the delimiter after the last fragment is missing")
    if header.tag in PIXEL_TAGS:
        vr = "OW" if header.vr == "OW" else "OB"
        _bulk(walk, level, header.tag, vr, start, value.length)
        if not level.depth:
            walk.pixels = PixelValue(header.tag, vr, start, value.length, value)
    else:
        _value(walk, level, header, position, value.length)
    return value.end


def _is_sequence(walk: Walk, level: Level, header: Header, start: int) -> bool:
    if header.tag in PIXEL_TAGS:
        return False
    if header.vr is not None:
        return header.vr in {"SQ", "UN"}
    try:
        if level.find_vr(header.tag) == "SQ":
            return True
    except NotYetKnown:
        pass
    head = walk.window.peek(start, 8)
    is_item = len(head) == 8 and read_item_header(head, level.encoding)[0] == ITEM
    return is_item and is_private(header.tag)


def _encoding_of_unknown(walk: Walk, encoding: Encoding, start: int) -> Encoding:
    """UN of undefined length is implicit VR Little Endian, whatever is around it."""
    if not encoding.little_endian and walk.window.peek(start, 2) == b"\xfe\xff":
        return IMPLICIT_LITTLE
    return encoding


def _value(walk: Walk, level: Level, header: Header, position: int, length: int) -> None:
    """Make the member of an element whose bytes are known to be there."""
    tag = header.tag
    if tag & 0xFFFF == 0 or tag >> 16 in {0, 2}:
        if length <= MEMO_ELEMENT_BYTES:
            walk.memo.learn(level.table, walk.window.read(position, header.size + length), b"")
        return
    vr = header.vr
    if vr is None or (vr == "UN" and (is_private(tag) or length < 0xFFFF)):
        try:
            vr = level.find_vr(tag)
        except NotYetKnown:
            level.deferred.append(Deferred(header, position, length))
            return
    start = position + header.size
    if vr == "SQ":
        _defined_sequence(walk, level, header, position, length)
    elif length and (tag in PIXEL_TAGS or _is_bulk(walk, vr, length)):
        _bulk(walk, level, tag, vr, start, length)
        if tag in PIXEL_TAGS and not level.depth:
            missing = max(0, header.length - length)
            walk.pixels = PixelValue(tag, vr, start, length, None, missing)
    else:
        level.members[tag] = _inline(walk, level, header, vr, (position, length))


def _is_bulk(walk: Walk, vr: str, length: int) -> bool:
    if vr in BINARY_VRS:
        return length > walk.limits.inline_bytes
    return vr in NUMBER_FORMATS and length > walk.limits.text_bytes


def _bulk(walk: Walk, level: Level, tag: int, vr: str, offset: int, length: int) -> None:
    path = f"{level.path}{tag:08X}"
    level.members[tag] = bulk_member(tag, vr, path)
    walk.bulk_values[path] = BulkPlace(offset, length, vr)


def _inline(walk: Walk, level: Level, header: Header, vr: str, place: tuple[int, int]) -> bytes:
    """Return the member with the value in it, from the memo if it is there."""
    position, length = place
    if length > walk.limits.text_bytes:
        raise InvalidDataset(
            f"a value is longer than {walk.limits.text_bytes} bytes: {header.tag:08X}", 0xC002
        )
    walk.add(0, length)
    raw = walk.window.read(position, header.size + length)
    if len(raw) > MEMO_ELEMENT_BYTES or header.tag == _SPECIFIC_CHARACTER_SET:
        return _encode(level, header, vr, raw)
    key = raw if header.vr == vr or is_certain(header.tag) else raw + vr.encode()
    member = level.table.young.get(key) or walk.memo.recall(level.table, key)
    if member is None:
        member = _encode(level, header, vr, raw)
        walk.memo.learn(level.table, key, member)
    return member


def _encode(level: Level, header: Header, vr: str, raw: bytes) -> bytes:
    value = raw[header.size :]
    return encode_member(header.tag, vr, value, level.encoding.little_endian, level.encodings)


def _defined_sequence(walk: Walk, level: Level, header: Header, position: int, length: int) -> None:
    """Take a Sequence of known length, as a whole from the memo if that is possible."""
    start = position + header.size
    place = (start, start + length, start + length)
    short = not level.depth and length <= MEMO_SEQUENCE_BYTES and header.vr == "SQ"
    if not short:
        _sequence(walk, level, header.tag, level.encoding, place)
        return
    raw = walk.window.read(position, header.size + length)
    known = walk.memo.recall_sequence(level.table, raw)
    if known is not None:
        level.members[header.tag] = known[0]
        walk.add(known[1], length)
        return
    before = walk.count, len(walk.bulk_values), len(walk.warnings)
    inherited, level.inherited = level.inherited, False
    _sequence(walk, level, header.tag, level.encoding, place)
    if before[1:] == (len(walk.bulk_values), len(walk.warnings)) and not level.inherited:
        member = level.members[header.tag]
        walk.memo.learn_sequence(level.table, raw, member, walk.count - before[0])
    level.inherited |= inherited


def _sequence(
    walk: Walk, level: Level, tag: int, encoding: Encoding, place: tuple[int, int, int]
) -> int:
    """Take the items of a Sequence into one member; return the position after it.

    Source: PS3.5 §7.5
    """
    position, stop, limit = place
    if level.depth >= min(walk.limits.nesting_depth, MAX_DEPTH):
        raise InvalidDataset("Sequences are nested too deeply", 0xC002)
    items: list[bytes] = []
    while position < stop:
        head = walk.window.peek(position, 8)[: limit - position]
        if len(head) < 8:
            position = _tail(walk, level, head, position, limit)[0]
            break
        item_tag, length = read_item_header(head, encoding)
        if item_tag == SEQUENCE_END:
            position += 8
            break
        if item_tag != ITEM:
            walk.warn("a Sequence without its delimiter was ended by what follows")
            break
        walk.add(1, 8)
        prefix = f"{level.path}{tag:08X}/{len(items) + 1}/"
        inner, position = _item(walk, level, encoding, prefix, (position + 8, length, limit))
        items.append(join_members(inner.members))
    level.members[tag] = sequence_member(tag, items)
    return position


def _item(
    walk: Walk, level: Level, encoding: Encoding, prefix: str, place: tuple[int, int, int]
) -> tuple[Level, int]:
    position, length, limit = place
    stop = limit if length == UNDEFINED else position + length
    if stop > limit:
        _forgive_length(walk, stop, limit)
        stop = limit
    if not encoding.implicit and stop - position >= 6 and _stands_implicit(walk, position):
        encoding = as_implicit(encoding)
    inner = Level(
        encoding=encoding,
        encodings=level.encodings,
        table=table_for(walk.memo, encoding, level.encodings),
        outer=level,
        path=prefix,
        depth=level.depth + 1,
    )
    position = walk_level(walk, inner, position, stop, limit)
    level.inherited |= inner.inherited
    return inner, position


def _forgive_length(walk: Walk, stop: int, limit: int) -> None:
    """Let an item pass whose length says more than there is, if no element can be missing."""
    if limit == walk.window.size and stop - limit >= 8:
        raise InvalidDataset("the object ends within an item of a Sequence", 0xC001)
    walk.warn("an item is longer than what holds it")


def _stands_implicit(walk: Walk, position: int) -> bool:
    """Say whether no VR stands where the first element of an item should have one."""
    vr = walk.window.peek(position, 6)[4:6]
    return not (vr.isalpha() and vr.isupper())
