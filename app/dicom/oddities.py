"""What stands where an element should, and lengths that disagree: forgiven or refused.

The rule: what was cut short is refused, since nobody can tell what is lost. What only contradicts
itself while all bytes are there is read as pydicom reads it, or better, with a warning.
"""

from app.dicom.headers import (
    DELIMITERS,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Header,
)
from app.dicom.level import Level
from app.dicom.source import Window
from app.dicom.walk import PIXEL_TAGS, Walk
from app.errors import InvalidDataset

CUT_SHORT = 0xC001
_BLOCK = 2**16

Ending = tuple[int, bool]
"""The position after it, and whether it ends the level."""


def take_tail(walk: Walk, head: bytes, limit: int, *, bounded: bool) -> Ending:
    """Pass over bytes that are no element: padding may stand there, half a header may not.

    `bounded` as in `is_bounded`.

    Raises:
        InvalidDataset: the object ends within an element.

    Source: PS3.5 §7.1; PS3.10 §7.2
    """
    if head.strip(b"\0\r\n ") and not bounded:
        raise InvalidDataset("the object ends within a Data Element", CUT_SHORT)
    walk.warn("bytes after the last Data Element were passed over")
    return limit, True


def take_marker(
    walk: Walk, level: Level, header: Header, position: int, limit: int
) -> Ending | None:
    """Handle delimiters and zeros where an element should stand; None for an element.

    Source: PS3.5 §7.5
    """
    if header.tag == ITEM_END and level.depth:
        return position + 8, True
    if header.tag in {ITEM, ITEM_END, SEQUENCE_END}:
        if level.depth:
            walk.warn("an item without its delimiter was ended by what follows")
            return position, True
        walk.warn("a delimiter without a Sequence was passed over")
        return position + 8, False
    if header.tag == 0 and not level.depth:
        after = _after_zeros(walk.window, position, limit)
        if after == limit or after > position + 8:
            walk.warn("zeros after the last Data Element were passed over")
            return after, False
    return None


def _after_zeros(window: Window, position: int, limit: int) -> int:
    """Return where zeros end, by steps of 8 bytes; each is looked at once, however many."""
    while position < limit:
        block = window.read(position, min(_BLOCK, limit - position))
        zeros = len(block) - len(block.lstrip(b"\0"))
        if zeros < len(block):
            return position + zeros - zeros % 8
        position += zeros
    return limit


def judge_missing_vr(walk: Walk, level: Level, header: Header, head: bytes, room: int) -> Header:
    """Choose how to read an element of explicit VR that has no VR: two blanks, say.

    It is one of implicit VR, unless only a length of 16 bits leads to a value that is there.

    Source: PS3.5 §7.1.2
    """
    if header.tag >= DELIMITERS or header.length <= room - 8 or header.length == UNDEFINED:
        return header
    length = int.from_bytes(head[6:8], "little" if level.encoding.little_endian else "big")
    if length > room - 8:
        return header
    walk.warn("an element without a VR was read as unknown")
    return Header(header.tag, "UN", length, 8)


def clip_value(walk: Walk, level: Level, header: Header, start: int, limit: int) -> int:
    """Return how much of a value that runs past the limit is there.

    Within a Sequence of defined length only lengths disagree. At the end of the object bytes are
    missing; whether that matters for Pixel Data, its frames will tell, if there is any of it.

    Raises:
        InvalidDataset: the object ends within the value.

    Source: PS3.5 §7.1, §7.5
    """
    if is_bounded(walk, level, limit):
        walk.warn("a value is longer than the Sequence that holds it")
    elif level.depth or header.tag not in PIXEL_TAGS or start == limit:
        raise InvalidDataset("the object ends within a value", CUT_SHORT)
    return max(0, limit - start)


def clip_item(walk: Walk, level: Level, stop: int, limit: int) -> None:
    """Let an item pass whose length says more than there is, if no element can be missing.

    Raises:
        InvalidDataset: the object ends within the item.

    Source: PS3.5 §7.5
    """
    if stop - limit >= 8 and not is_bounded(walk, level, limit):
        raise InvalidDataset("the object ends within an item of a Sequence", CUT_SHORT)
    walk.warn("an item is longer than what holds it")


def is_bounded(walk: Walk, level: Level, limit: int) -> bool:
    """Say whether the limit is the declared end of a Sequence, all of which is there.

    Source: PS3.5 §7.5
    """
    return level.bounded or limit < walk.window.size
