"""From an element's bytes to its member, through the memo."""

from app.dicom.headers import DELIMITERS, Header
from app.dicom.json_model import BINARY_VRS, NUMBER_FORMATS, bulk_member, encode_member
from app.dicom.level import Level, NotYetKnown
from app.dicom.scanned import BulkPlace
from app.dicom.value_representations import certain_vr
from app.dicom.walk import PIXEL_TAGS, Walk
from app.errors import InvalidDataset

SPECIFIC_CHARACTER_SET = 0x00080005
MEMO_ELEMENT_BYTES = 1024
"""Longer elements are not remembered: they are few, and seldom the same."""


def is_left_out(tag: int) -> bool:
    """Say whether an element has no member: group lengths, and groups of other Data Sets.

    Source: PS3.18 §F.2.2; PS3.10 §7.1; PS3.7 §6.3.1
    """
    return tag & 0xFFFF == 0 or tag >> 16 in {0, 2}


def is_bulk(walk: Walk, vr: str, length: int) -> bool:
    """Say whether a value of this length becomes Bulk Data: binary ones soon, numbers late.

    Source: PS3.18 §F.2.6
    """
    if vr in BINARY_VRS:
        return length > walk.limits.inline_bytes
    return vr in NUMBER_FORMATS and length > walk.limits.text_bytes


def add_bulk(walk: Walk, level: Level, tag: int, place: BulkPlace) -> None:
    """Note where a bulk value lies and refer to it.

    Source: PS3.18 §F.2.6
    """
    path = f"{level.path}{tag:08X}"
    level.members[tag] = bulk_member(tag, place.vr, path)
    walk.bulk_values[path] = place
    walk.peculiar += 1


def add_inline(walk: Walk, level: Level, header: Header, vr: str, raw: bytes) -> None:
    """Make a member with the value in it, from the memo if it is there; `raw` has the header.

    Where the VR was found out from other elements, it is part of what the memo goes by; so it is
    for Specific Character Set, which the fast gear shall not find, since there is more to do.

    Source: PS3.18 §F.2.2
    """
    certain = header.vr == vr or certain_vr(header.tag) is not None
    key = raw if certain and header.tag != SPECIFIC_CHARACTER_SET else raw + vr.encode()
    member = level.table.young.get(key)
    if member is None:
        member = learn(walk, level, header._replace(vr=vr), raw, key)
    level.members[header.tag] = member


def find_member(walk: Walk, level: Level, tag: int, raw: bytes) -> bytes | None:
    """Return the member of an element of implicit VR, or None if there is more to do about it.

    Source: PS3.5 §7.1.3
    """
    vr = certain = certain_vr(tag)
    if tag >= DELIMITERS:
        return None
    if vr is None:
        try:
            vr = level.find_vr(tag)
        except NotYetKnown:
            return None
    if vr == "SQ":
        return _find_sequence(walk, level, raw)
    if tag == SPECIFIC_CHARACTER_SET or tag in PIXEL_TAGS or is_bulk(walk, vr, len(raw) - 8):
        return None
    key = raw if certain else raw + vr.encode()
    member = level.table.young.get(key)
    return learn(walk, level, Header(tag, vr, 0, 8), raw, key) if member is None else member


def _find_sequence(walk: Walk, level: Level, raw: bytes) -> bytes | None:
    known = None if level.depth else level.table.sequences.get(raw)
    if known is None:
        return None
    walk.add(known[1], 0)
    return known[0]


def learn(walk: Walk, level: Level, header: Header, raw: bytes, key: bytes) -> bytes:
    """Return the member of an element that the young memo lacks, and remember it.

    Raises:
        InvalidDataset: the value is longer than a text may be.

    Source: PS3.18 §F.2.2
    """
    member = walk.memo.recall(level.table, key)
    if member is not None:
        return member
    if len(raw) - header.size > walk.limits.text_bytes:
        limit = walk.limits.text_bytes
        raise InvalidDataset(f"the value of {header.tag:08X} is longer than {limit} bytes", 0xC002)
    if is_left_out(header.tag):
        member = b""
    else:
        value, little_endian = raw[header.size :], level.encoding.little_endian
        member = encode_member(header.tag, header.vr or "UN", value, little_endian, level.encodings)
    if len(raw) <= MEMO_ELEMENT_BYTES:
        walk.memo.learn(level.table, key, member)
    return member
