"""In which Transfer Syntax something stored is handed out (PS3.18 §8.7.3): the rules, as functions.

Implicit VR Little Endian and Explicit VR Big Endian never leave (M-05). No syntax named means
Explicit VR Little Endian, decoded where nothing is lost by it; what exists only with loss goes as
it is stored (M-03, M-04). "*" means as stored (M-06). A named one is delivered or refused (M-07).
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from app.dicom.transfer_syntaxes import (
    EXPLICIT_LITTLE_ENDIAN,
    OCTET_STREAM,
    TransferSyntax,
    find,
)
from app.mime.media_types import Form, covers

APPLICATION_DICOM = "application/dicom"


class How(Enum):
    """What has to be done to the stored bytes."""

    STORED = "as stored"
    REWRITTEN = "data set written anew, pixel values kept"
    DECODED = "frames decoded"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an Instance or its frames are delivered, and what they then are."""

    how: How
    transfer_syntax_uid: str
    media_type: str


def deliver_instance(form: Form, stored_uid: str) -> Delivery | None:
    """Return how an Instance is delivered in one accepted form, or None if it cannot be.

    Source: PS3.18 §8.7.3, §8.7.8.2
    """
    if not covers(form.media_type, APPLICATION_DICOM):
        return None
    stored = find(stored_uid)
    if stored is None:
        how = How.STORED if "*" in (form.transfer_syntaxes or "*") else None
        return how and Delivery(how, stored_uid, APPLICATION_DICOM)
    for wanted in form.transfer_syntaxes or (None,):
        how, uid = _instance_how(wanted, stored)
        if how is not None:
            return Delivery(how, uid, APPLICATION_DICOM)
    return None


def _instance_how(wanted: str | None, stored: TransferSyntax) -> tuple[How | None, str]:
    leaves = not (stored.implicit or stored.big_endian or stored.big_endian_pixels)
    if leaves and (wanted in {"*", stored.uid} or (wanted is None and stored.lossy)):
        return How.STORED, stored.uid
    if wanted is None or wanted == EXPLICIT_LITTLE_ENDIAN or (wanted == "*" and not leaves):
        return _explicit(stored, wanted)
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


@lru_cache(maxsize=1024)
def deliver_frames(form: Form, stored_uid: str) -> Delivery | None:
    """Return how frames are delivered in one accepted form, or None if they cannot be.

    `application/octet-stream` means native little-endian frames unless a syntax is named; a media
    type of a compressed frame means the stored codestream, if it is of that type.

    Source: PS3.18 §8.7.3.3, Tables 8.7.3-4 and 8.7.3-5
    """
    stored = find(stored_uid)
    if stored is None:
        return None
    if covers(form.media_type, OCTET_STREAM):
        delivery = _octets(form.transfer_syntaxes, stored)
        if delivery is not None:
            return delivery
    if stored.encapsulated and covers(form.media_type, stored.media_type):
        return _codestream(form, stored)
    return None


def _octets(wanted: tuple[str, ...], stored: TransferSyntax) -> Delivery | None:
    for uid in wanted or (EXPLICIT_LITTLE_ENDIAN,):
        if stored.encapsulated and uid in {"*", stored.uid}:
            return Delivery(How.STORED, stored.uid, OCTET_STREAM)
        if uid not in {"*", EXPLICIT_LITTLE_ENDIAN}:
            continue
        if not stored.encapsulated:
            return Delivery(How.STORED, EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM)
        if stored.decodable:
            return Delivery(How.DECODED, EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM)
    return None


def _codestream(form: Form, stored: TransferSyntax) -> Delivery | None:
    wanted = form.transfer_syntaxes
    fits = stored.default_of_media_type or "*" in form.media_type
    if stored.uid in wanted or "*" in wanted or (not wanted and fits):
        return Delivery(How.STORED, stored.uid, stored.media_type)
    return None
