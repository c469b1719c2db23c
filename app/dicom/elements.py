"""The walk over the elements of a Data Set, its Sequences included.

`walk_level` alternates between two gears. The fast one (`gears`) takes plain elements, nearly all
of which the memo knows; the slow one (`_element`) takes whatever comes next: a Sequence, Bulk Data,
an element without a VR, a delimiter, an oddity. What must hold:

* Positions are absolute. `stop` is where a level ends by declaration, `limit` where the bytes
  that hold it end (of the object or of a Sequence of defined length): an element may pass `stop`,
  as pydicom allows, but never `limit`.
* A level deeper than the limit is refused, so recursion is bounded; every element and item counts.
* A level whose meaning was mistaken is read again (`Level.restart`); how much is read again is
  bounded, as levels within levels would double the work at each.
* What goes into the memo depends on nothing but its key.
"""

from app.dicom.charsets import encodings_of
from app.dicom.fragments import walk_fragments
from app.dicom.gears import plain_explicit, plain_implicit
from app.dicom.headers import (
    DELIMITERS,
    IMPLICIT_LITTLE,
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    Header,
    as_implicit,
    is_cut,
    read_header,
    read_item_header,
)
from app.dicom.json_model import join_members, sequence_member
from app.dicom.level import Deferred, Level, NotYetKnown, table_for
from app.dicom.members import (
    MEMO_ELEMENT_BYTES,
    SPECIFIC_CHARACTER_SET,
    add_bulk,
    add_inline,
    is_bulk,
    is_left_out,
)
from app.dicom.oddities import (
    Ending,
    clip_item,
    clip_value,
    is_bounded,
    judge_missing_vr,
    take_marker,
    take_tail,
)
from app.dicom.scanned import BulkPlace
from app.dicom.value_representations import is_private
from app.dicom.walk import PIXEL_TAGS, PixelValue, Walk
from app.errors import InvalidDataset

MAX_DEPTH = 64
"""Whatever the limit says: each level takes some calls of Python's own bounded stack."""
MEMO_SEQUENCE_BYTES = 16384

Extent = tuple[int, int, int]
"""Position, stop and limit."""


def walk_level(walk: Walk, level: Level, position: int, stop: int, limit: int) -> int:
    """Read the elements of a level into its members; return the position after it.

    Raises:
        InvalidDataset: it cannot be understood, is cut short or over a limit.

    Source: PS3.5 §7.1, §7.5
    """
    level.start = position
    position = _walk_once(walk, level, position, stop, limit)
    if level.misled_items():
        walk.begin_again(position - level.start)
        position = _walk_once(walk, level, level.restart(), stop, limit)
    level.complete = True
    for late in level.deferred:
        _value(walk, level, late.header, late.position, late.length)
    return position


def _walk_once(walk: Walk, level: Level, position: int, stop: int, limit: int) -> int:
    gear = plain_implicit if level.encoding.implicit else plain_explicit
    while position < stop:
        position = gear(walk, level, position, stop, limit)
        if position >= stop:
            break
        position, ended = _element(walk, level, position, limit)
        if ended:
            break
    return position


def _element(walk: Walk, level: Level, position: int, limit: int) -> Ending:
    """Take the next element, whatever it is; return the position after it and if it ends all."""
    head = walk.window.peek(position, 12)[: limit - position]
    if is_cut(head, level.encoding):
        return take_tail(walk, head, limit, bounded=is_bounded(walk, level, limit))
    header = read_header(head, level.encoding)
    if header.vr is None and not level.encoding.implicit:
        header = judge_missing_vr(walk, level, header, head, limit - position)
    walk.add(1, header.size)
    if header.tag >= DELIMITERS or header.tag == 0:
        ending = take_marker(walk, level, header, position, limit)
        if ending is not None:
            return ending
    if header.length == UNDEFINED:
        return _undefined(walk, level, header, position, limit), False
    start = position + header.size
    length = header.length
    if start + length > limit:
        length = clip_value(walk, level, header, start, limit)
    if header.tag == SPECIFIC_CHARACTER_SET and _character_set(walk, level, start, length):
        walk.begin_again(start + length - level.start)
        return level.restart(), False
    _value(walk, level, header, position, length)
    return start + length, False


def _character_set(walk: Walk, level: Level, start: int, length: int) -> bool:
    """Take over a Specific Character Set; True if text was read before and must be again."""
    encodings = encodings_of(walk.window.read(start, min(length, MEMO_ELEMENT_BYTES)))
    if level.charset_is_final or encodings == level.encodings:
        return False
    level.use_encodings(encodings, walk.memo)
    level.charset_is_final = any(tag > SPECIFIC_CHARACTER_SET for tag in level.members)
    return level.charset_is_final


def _undefined(walk: Walk, level: Level, header: Header, position: int, limit: int) -> int:
    """Take an element of undefined length: a Sequence, or items of bytes; return its end.

    Source: PS3.5 §6.2.2 (UN), §7.5, §A.4
    """
    start = position + header.size
    if _is_sequence(walk, level, header, start):
        return _open_sequence(walk, level, header, position, limit)
    value = walk_fragments(walk.window, start, limit, level.encoding, walk.limits)
    if not value.delimited:
        walk.warn("the delimiter after the last fragment is missing")
    if header.tag in PIXEL_TAGS:
        vr = "OW" if header.vr == "OW" else "OB"
        add_bulk(walk, level, header.tag, BulkPlace(start, value.length, vr))
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
    tag, vr, size = header.tag, header.vr, header.size
    if is_left_out(tag):
        return
    if vr is None or (vr == "UN" and (is_private(tag) or length < 0xFFFF)):
        try:
            vr = level.find_vr(tag)
        except NotYetKnown:
            level.deferred.append(Deferred(header, position, length))
            return
    if vr == "SQ":
        _defined_sequence(walk, level, header, position, length)
    elif length and (tag in PIXEL_TAGS or is_bulk(walk, vr, length)):
        add_bulk(walk, level, tag, BulkPlace(position + size, length, vr))
        if tag in PIXEL_TAGS and not level.depth:
            missing = header.length - length
            walk.pixels = PixelValue(tag, vr, position + size, length, None, missing)
    else:
        walk.add(0, length)
        raw = walk.window.read(position, size + length)
        add_inline(walk, level, header, vr, raw)


def _defined_sequence(walk: Walk, level: Level, header: Header, position: int, length: int) -> None:
    """Take a Sequence of known length, as a whole from the memo if that is possible."""
    start = position + header.size
    extent = (start, start + length, start + length)
    if not level.depth and length <= MEMO_SEQUENCE_BYTES:
        raw = walk.window.read(position, header.size + length)
        known = walk.memo.recall_sequence(level.table, raw)
        if known is not None:
            level.members[header.tag] = known[0]
            walk.add(known[1], length)
            return
    _new_sequence(walk, level, header, level.encoding, extent)


def _open_sequence(walk: Walk, level: Level, header: Header, position: int, limit: int) -> int:
    """Take a Sequence of undefined length, from the memo or anew; return the position after it."""
    start = position + header.size
    window = walk.window
    if not level.depth and position >= window.base:
        known = walk.memo.recall_open(level.table, window.data, position - window.base)
        if known is not None:
            raw, level.members[header.tag], count = known
            walk.add(count, len(raw))
            return position + len(raw)
    encoding = level.encoding
    if header.vr == "UN":
        encoding = _encoding_of_unknown(walk, encoding, start)
    return _new_sequence(walk, level, header, encoding, (start, limit, limit))


def _new_sequence(
    walk: Walk, level: Level, header: Header, encoding: Encoding, extent: Extent
) -> int:
    """Take a Sequence and, if it stands alone, remember it; return the position after it."""
    start, is_open = extent[0] - header.size, header.length == UNDEFINED
    count, peculiar = walk.count, walk.peculiar
    inherited, level.inherited = level.inherited, False
    end = _sequence(walk, level, header.tag, encoding, extent, bounded=not is_open)
    is_own = peculiar == walk.peculiar and not level.inherited
    level.inherited |= inherited
    size = (end if is_open else extent[1]) - start
    if is_own and not level.depth and size <= MEMO_SEQUENCE_BYTES:
        learn = walk.memo.learn_open if is_open else walk.memo.learn_sequence
        raw = walk.window.read(start, size)
        learn(level.table, raw, level.members[header.tag], walk.count - count)
    return end


def _sequence(
    walk: Walk, level: Level, tag: int, encoding: Encoding, extent: Extent, *, bounded: bool
) -> int:
    """Take the items of a Sequence into one member; return the position after it.

    Source: PS3.5 §7.5
    """
    position, stop, limit = extent
    if level.depth >= min(walk.limits.nesting_depth, MAX_DEPTH):
        raise InvalidDataset("Sequences are nested too deeply", 0xC002)
    items: list[bytes] = []
    while position < stop:
        head = walk.window.peek(position, 8)[: limit - position]
        if len(head) < 8:
            position, _ = take_tail(
                walk, head, limit, bounded=bounded or is_bounded(walk, level, limit)
            )
            break
        item_tag, length = read_item_header(head, encoding)
        if item_tag == SEQUENCE_END:
            position += 8
            break
        if item_tag != ITEM:
            walk.warn("a Sequence without its delimiter was ended by what follows")
            break
        walk.add(1, 8)
        inner = Level(
            encoding=encoding,
            encodings=level.encodings,
            table=level.table,
            outer=level,
            path=f"{level.path}{tag:08X}/{len(items) + 1}/",
            depth=level.depth + 1,
            bounded=level.bounded or bounded,
        )
        position = _item(walk, inner, length, position + 8, limit)
        level.inherited |= inner.inherited
        items.append(join_members(inner.members))
    else:
        if not bounded:
            walk.warn("a Sequence without its delimiter was ended by what follows")
    level.members[tag] = sequence_member(tag, items)
    return position


def _item(walk: Walk, inner: Level, length: int, position: int, limit: int) -> int:
    """Take an item into its level; return the position after it."""
    stop = limit if length == UNDEFINED else position + length
    if stop > limit:
        clip_item(walk, inner, stop, limit)
        stop = limit
    encoding = inner.encoding
    if not encoding.implicit and stop - position >= 6 and _stands_implicit(walk, position):
        inner.encoding = as_implicit(encoding)
    inner.table = table_for(walk.memo, inner.encoding, inner.encodings)
    return walk_level(walk, inner, position, stop, limit)


def _stands_implicit(walk: Walk, position: int) -> bool:
    """Say whether no VR stands where the first element of an item should have one."""
    vr = walk.window.peek(position, 6)[4:6]
    return not (vr.isalpha() and vr.isupper())
