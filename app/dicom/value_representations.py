"""Which Value Representation an element has where the encoding does not say it."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from pydicom.datadict import dictionary_VR, private_dictionary_VR

PIXEL_REPRESENTATION = 0x00280103
LUT_DESCRIPTOR = 0x00283002


def is_private(tag: int) -> bool:
    """Say whether the group is odd.

    Source: PS3.5 §7.8
    """
    return bool(tag & 0x10000)


def is_private_creator(tag: int) -> bool:
    """Say whether the element reserves a block of private elements.

    Source: PS3.5 §7.8.1
    """
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


@lru_cache(16384)
def _public(tag: int) -> str | None:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


@lru_cache(16384)
def _private(tag: int, creator: str) -> str | None:
    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return None


@lru_cache(16384)
def certain_vr(tag: int) -> str | None:
    """Return the VR where the tag alone decides it, None where other elements have a say.

    Source: PS3.6 §6, PS3.5 §7.8
    """
    if is_private(tag):
        return "LO" if is_private_creator(tag) else None
    vr = _public(tag) or "UN"
    return None if " or " in vr or vr == "NONE" else vr


def creator_of(value: bytes) -> str | None:
    """Return the name in a Private Creator element, or None if it is not one name.

    Source: PS3.5 §7.8.1
    """
    name = value.decode("latin-1").rstrip("\0 ")
    return name if name and "\\" not in name else None


def find_vr(tag: int, creators: Mapping[int, str], number: Callable[[int], int | None]) -> str:
    """Return the VR of an element that stands without one; `UN` if nobody knows.

    `creators` maps group and block (0x00190010) to the name that reserved it in this Data Set.
    `number` gives the first number of Pixel Representation, of this Data Set or the nearest around
    it, or of LUT Descriptor, of this one alone. What may be OB or OW is OW, as it must be in
    implicit VR.

    Source: PS3.5 §6.2.2, §7.8, Annex A.1; PS3.6 §6
    """
    vr = _public(tag) if not is_private(tag) else _private_vr(tag, creators)
    if vr is None:
        return "UN"
    if vr == "US or SS":
        return "SS" if number(PIXEL_REPRESENTATION) else "US"
    if vr == "US or OW":
        return "US" if number(LUT_DESCRIPTOR) == 1 else "OW"
    return "OW" if " or " in vr else vr


def _private_vr(tag: int, creators: Mapping[int, str]) -> str | None:
    if is_private_creator(tag):
        return "LO"
    creator = creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
    return _private(tag, creator) if creator else None
