"""In which Transfer Syntax something stored is handed out (PS3.18 §8.7.3): the rules, as functions.

Implicit VR Little Endian and Explicit VR Big Endian never leave (M-05). No syntax named means
Explicit VR Little Endian, decoded where nothing is lost by it; what exists only with loss goes as
it is stored (M-03, M-04). "*" means as stored (M-06). A named one is delivered or refused (M-07).

The answer is a row of candidates in the caller's order. Those that are `ENCODED` depend on the
pixels too: the first whose frames `can_encode` allows, or that is not encoded, is the one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from app.dicom.encodings import targets
from app.dicom.transfer_syntaxes import (
    EXPLICIT_LITTLE_ENDIAN,
    OCTET_STREAM,
    TransferSyntax,
    find,
)
from app.mime.media_types import Form

APPLICATION_DICOM = "application/dicom"

_OTHER_NAMES = {
    "image/x-jls": "image/jls",
    "image/jpls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+rle": "image/dicom-rle",
    "image/dicom+jpeg": "image/jpeg",
    "image/jll": "image/jpeg",
    "image/dicom+jpeg-ls": "image/jls",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/x-jp2": "image/jp2",
    "image/x-jxl": "image/jxl",
    "image/x-jphc": "image/jphc",
}
"""Media types of older editions, and of viewers, for the standard's."""


class How(Enum):
    """What has to be done to the stored bytes."""

    STORED = "as stored"
    REWRITTEN = "data set written anew, pixel values kept"
    DECODED = "frames decoded"
    ENCODED = "frames encoded, decoded before if need be"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an Instance or its frames are delivered, and what they then are."""

    how: How
    transfer_syntax_uid: str
    media_type: str


@lru_cache(maxsize=1024)
def deliver_instance(form: Form, stored_uid: str) -> tuple[Delivery, ...]:
    """Return how an Instance may be delivered in one accepted form, the most wanted first.

    Source: PS3.18 §8.7.3, §8.7.8.2
    """
    if not form.covers(APPLICATION_DICOM):
        return ()
    stored = find(stored_uid)
    if stored is None:
        as_it_is = Delivery(How.STORED, stored_uid, APPLICATION_DICOM)
        return (as_it_is,) if "*" in (form.transfer_syntaxes or "*") else ()
    found = (_instance_how(wanted, stored) for wanted in form.transfer_syntaxes or (None,))
    return tuple(Delivery(how, uid, APPLICATION_DICOM) for how, uid in found if how is not None)


def _instance_how(wanted: str | None, stored: TransferSyntax) -> tuple[How | None, str]:
    leaves = not (stored.implicit or stored.big_endian or stored.big_endian_pixels)
    if leaves and (wanted in {"*", stored.uid} or (wanted is None and stored.lossy)):
        return How.STORED, stored.uid
    if wanted is None or wanted == EXPLICIT_LITTLE_ENDIAN or (wanted == "*" and not leaves):
        return _explicit(stored, wanted)
    # not with loss: that would be another Instance, with a UID of its own (PS3.3 §C.7.6.1.1.5)
    if any(target.uid == wanted and not target.lossy for target in _targets(stored)):
        return How.ENCODED, wanted
    return None, ""


def _explicit(stored: TransferSyntax, wanted: str | None) -> tuple[How | None, str]:
    if stored.uid == EXPLICIT_LITTLE_ENDIAN:
        return How.STORED, stored.uid
    if stored.encapsulated:
        if stored.decodable:
            return How.DECODED, EXPLICIT_LITTLE_ENDIAN
        # nothing here can decode it: as it is, unless Explicit VR Little Endian was asked by name
        return (None, "") if wanted else (How.STORED, stored.uid)
    return How.REWRITTEN, EXPLICIT_LITTLE_ENDIAN


def _targets(stored: TransferSyntax) -> Iterator[TransferSyntax]:
    """Yield what something stored may be encoded in: with loss only what had none (M-25)."""
    if stored.decodable:
        for target in targets():
            if target.uid != stored.uid and not (target.lossy and stored.lossy):
                yield target


@lru_cache(maxsize=1024)
def deliver_frames(form: Form, stored_uid: str) -> tuple[Delivery, ...]:
    """Return how frames may be delivered in one accepted form, the most wanted first.

    `application/octet-stream` means native little-endian frames unless a syntax is named; a media
    type of a compressed frame means its default syntax, or what is stored, if that is of the type
    and its default, or lossy (M-04).
    Nothing is encoded with loss unless its syntax is named (M-25).

    Source: PS3.18 §8.7.3.3, Tables 8.7.3-4 and 8.7.3-5
    """
    stored = find(stored_uid)
    if stored is None:
        return ()
    form = replace(form, media_type=_OTHER_NAMES.get(form.media_type, form.media_type))
    if form.transfer_syntaxes:
        found = [_named(form, wanted, stored) for wanted in form.transfer_syntaxes]
    else:
        found = [_octets(form, EXPLICIT_LITTLE_ENDIAN, stored)]
        if stored.default_of_media_type or stored.lossy or "*" in form.media_type:
            found.append(_codestream(form, stored))
        found.extend(_encoded(form, stored))
    return tuple(dict.fromkeys(delivery for delivery in found if delivery is not None))


def _named(form: Form, wanted: str, stored: TransferSyntax) -> Delivery | None:
    delivery = _octets(form, wanted, stored)
    if delivery is None and wanted in {"*", stored.uid}:
        delivery = _codestream(form, stored)
    if delivery is not None:
        return delivery
    if wanted == "*":
        return next(iter(_encoded(form, stored)), None)
    for target in _targets(stored):
        if target.uid == wanted and form.covers(target.media_type):
            return Delivery(How.ENCODED, wanted, target.media_type)
        if target.uid == wanted and form.media_type == OCTET_STREAM:
            return Delivery(How.ENCODED, wanted, OCTET_STREAM)
    return None


def _octets(form: Form, wanted: str, stored: TransferSyntax) -> Delivery | None:
    if not form.covers(OCTET_STREAM):
        return None
    if stored.encapsulated and wanted in {"*", stored.uid}:
        return Delivery(How.STORED, stored.uid, OCTET_STREAM)
    if wanted not in {"*", EXPLICIT_LITTLE_ENDIAN}:
        return None
    if not stored.encapsulated:
        return Delivery(How.STORED, EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM)
    if stored.decodable:
        return Delivery(How.DECODED, EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM)
    return None


def _codestream(form: Form, stored: TransferSyntax) -> Delivery | None:
    if stored.encapsulated and form.covers(stored.media_type):
        return Delivery(How.STORED, stored.uid, stored.media_type)
    return None


def _encoded(form: Form, stored: TransferSyntax) -> Iterator[Delivery]:
    """Yield the default syntaxes of a media type or range that frames may be encoded in."""
    for target in _targets(stored):
        if target.default_of_media_type and form.covers(target.media_type):
            yield Delivery(How.ENCODED, target.uid, target.media_type)
