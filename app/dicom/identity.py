"""Which Instance this is: the UIDs that a store cannot do without."""

import re
from dataclasses import dataclass

import orjson

from app.dicom.scanned import ScannedInstance
from app.dicom.store_report import FailureReason
from app.dicom.uids import InstanceRef, check_uid
from app.errors import InvalidDataset, InvalidUID

_META_UID = re.compile(rb"\x02\x00([\x02\x03])\x00UI([\x01-\x40])\x00")
_PLAIN = re.compile(rb':\{"vr":"UI","Value":\["((?=[0-9.]{1,64}")[0-9]+(?:\.[0-9]+)*)"\]\}')
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_NAMES = {
    _SOP_CLASS: "SOP Class UID",
    _SOP_INSTANCE: "SOP Instance UID",
    0x0020000D: "Study Instance UID",
    0x0020000E: "Series Instance UID",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a Data Set says it is."""

    ref: InstanceRef
    sop_class_uid: str


def identify(scanned: ScannedInstance) -> Identity:
    """Return what a Data Set says it is.

    Raises:
        InvalidDataset: a UID is absent, empty, or cannot be one.

    Source: PS3.18 §10.5.1, PS3.3 §C.12.1
    """
    sop_class, instance, study, series = (_uid(scanned, tag) for tag in _NAMES)
    return Identity(InstanceRef(study, series, instance), sop_class)


def identify_non_patient(scanned: ScannedInstance) -> Identity:
    """Return what a Data Set says it is that needs neither Study nor Series.

    Raises:
        InvalidDataset: a UID is absent, empty, or cannot be one.

    Source: PS3.18 §12.5, PS3.3 §C.12.1
    """
    sop_class, instance = _uid(scanned, _SOP_CLASS), _uid(scanned, _SOP_INSTANCE)
    return Identity(InstanceRef("", "", instance), sop_class)


def sop_class_of(scanned: ScannedInstance) -> str:
    """Return the SOP Class UID that a Data Set names.

    Raises:
        InvalidDataset: it is absent, empty, or no UID.

    Source: PS3.3 §C.12.1
    """
    return _uid(scanned, _SOP_CLASS)


def _uid(scanned: ScannedInstance, tag: int) -> str:
    member = scanned.fragments.get(tag, b"")
    plain = _PLAIN.fullmatch(member, 10)
    if plain is not None:  # nearly always, and a tenth of the time
        return plain[1].decode()
    values = orjson.loads(b"{%b}" % member) if member else {}
    value = next((v for element in values.values() for v in element.get("Value", ())), None)
    if not value:
        raise InvalidDataset(f"no {_NAMES[tag]}", FailureReason.UID_MISSING_OR_INVALID)
    try:
        return check_uid(str(value))
    except InvalidUID:
        message = f"{_NAMES[tag]} is no UID of up to 64 digits and dots"
        raise InvalidDataset(message, FailureReason.UID_MISSING_OR_INVALID) from None


def media_storage_uids(head: bytes) -> tuple[str, str]:
    """Return SOP Class and SOP Instance UID of the File Meta Information, '' where not told.

    For a report on bytes that cannot be scanned: what cannot be read is not named.

    Source: PS3.10 Table 7.1-1
    """
    found = {"\x02": "", "\x03": ""}
    for match in _META_UID.finditer(head, 0, 4096):
        raw = head[match.end() : match.end() + match[2][0]].rstrip(b"\0 ")
        try:
            found[match[1].decode()] = check_uid(raw.decode("latin-1"))
        except InvalidUID:
            continue
    return found["\x02"], found["\x03"]
