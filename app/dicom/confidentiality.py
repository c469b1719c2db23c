"""What identity is, and what happens to each attribute that has it (PS3.15 Annex E).

The Basic Application Level Confidentiality Profile. Where its table leaves the IOD to decide (X/Z,
X/D, X/Z/D, Z/D), the last action is taken: the result then conforms to every IOD. More than it asks
for goes, too: what no dictionary knows, values of VR UN, names and addresses that it does not list,
texts that are retired or stand where no text should, whole overlays. UIDs that it does not list are
replaced unless they name a class or a coding scheme.
"""

import hashlib
import hmac
from enum import Enum
from functools import lru_cache
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_is_retired, dictionary_VR
from pydicom.uid import UID

from app.dicom.confidentiality_profile import TABLE
from app.dicom.document import Document

EDITION = "2024b"


class Action(Enum):
    """What happens to an attribute (PS3.15 Table E.1-1a)."""

    KEEP = "K"
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"


_LAST = {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U*": "K"}
"""The action that conforms to every IOD; of U* the Sequence stays, and UIDs in it are replaced."""
_ACTIONS = {
    int(tag, 16): Action(_LAST.get(actions, actions))
    for actions, tags in TABLE.items()
    for tag in tags.split()
} | {
    0x0040A160: Action.DUMMY,  # Text Value, outside of reports
    0x00700006: Action.DUMMY,  # Unformatted Text Value, over waveforms
    0x0040E001: Action.REMOVE,  # HL7 Instance Identifier
    0x04000500: Action.REMOVE,  # Encrypted Attributes Sequence: the identity, for who has the key
    **dict.fromkeys((0x7FE00001, 0x7FE00002, 0x7FE00003), Action.REMOVE),  # of other fragments
}
"""Those of the table, and some that may say as much where no table looks."""
_CLASSES = frozenset({
    0x00080016, 0x0008001A, 0x0008001B, 0x00080062, 0x00081150, 0x0008115A, 0x30100052, 0x30100053,
    0x0008010C, 0x00080117, 0x00080118,
    0x0008040E, 0x00083002, 0x00340003, 0x04000010, 0x04000510,
})  # fmt: skip
"""UIDs of SOP Classes, of coding schemes and code lists, of Transfer Syntaxes."""
_NEVER = frozenset({"UN", "PN", "UR", "AE"})
"""VRs that go where the table does not know the attribute."""
_TEXTS = frozenset({"DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UT"})
_WITH_TEXT = (
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture, and its multi-frame kinds
    "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # Endoscopic pictures and videos
)
"""SOP Classes, and those below them, whose pixels often have text written into them."""
_VOICES = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})


@lru_cache(maxsize=4096)
def action_of(tag: int, vr: str) -> Action:
    """Return what happens to an attribute.

    Source: PS3.15 §E.2, Table E.1-1
    """
    group = tag >> 16
    if group % 2 or group < 8 or 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF:
        return Action.REMOVE
    listed = _ACTIONS.get(tag)
    if listed is Action.UID or (listed is Action.DUMMY and vr == "UI"):
        return Action.UID if vr == "UI" else Action.REMOVE
    if listed is not None:
        return listed
    if vr in _NEVER or not dictionary_has_tag(tag):
        return Action.REMOVE
    if vr == "UI":
        return Action.KEEP if tag in _CLASSES else Action.UID
    is_odd = dictionary_is_retired(tag) or dictionary_VR(tag) not in _TEXTS
    return Action.REMOVE if vr in _TEXTS and is_odd else Action.KEEP


def replace_uid(uid: str, secret: bytes) -> str:
    """Return the UID that stands for another one; what the standard itself registers stays.

    Source: PS3.15 §E.1.1 (action U); PS3.5 §B.2 (UIDs from UUIDs)
    """
    if UID(uid, validation_mode=IGNORE).name != uid or not uid:
        return uid
    number = int.from_bytes(hmac.digest(secret, b"uid " + uid.encode(), hashlib.sha256)[:16], "big")
    number = number & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62  # a UUID of version 8
    return f"2.25.{number}"


def pseudonym(patient_id: bytes, secret: bytes) -> bytes:
    """Return a Patient ID of 16 digits and letters that stands for another one.

    Source: PS3.15 §E.1.1 (action D)
    """
    digest = hmac.digest(secret, b"patient " + patient_id, hashlib.sha256)
    return digest.hex()[:16].upper().encode()


def why_not(document: Document) -> str:
    """Return in words why an Instance cannot be de-identified, or nothing if it can.

    Source: PS3.15 §E.1, §E.3.1, §E.3.2, §E.3.4
    """
    if "0040A730" in document.members:
        return "the content of a report is text that cannot be cleaned"
    if "00420011" in document.members:
        return "a document within an Instance cannot be cleaned"
    if document.text("00080016") in _VOICES:
        return "a recorded voice cannot be cleaned"
    return _why_not_pixels(document)


def _why_not_pixels(document: Document) -> str:
    burned = document.text("00280301").upper()
    if burned == "YES" or document.text("00480010").upper() == "YES":
        return "identifying text is burned into its pixels"
    if "LABEL" in (kind.strip().upper() for kind in document.texts("00080008")):
        return "it is a picture of a label"
    if document.text("00280302").upper() == "YES":
        return "its pixels show features by which the patient can be recognized"
    if any(
        tag[:2] == "60" and tag[4:] == "0102" and document.number(tag) for tag in document.members
    ):
        return "an overlay is kept within its pixels"
    uid = document.text("00080016")
    if burned != "NO" and any(f"{uid}.".startswith(f"{root}.") for root in _WITH_TEXT):
        return (
            "images of its kind often have text burned in, and Burned In Annotation (0028,0301) "
            "does not say NO"
        )
    return ""


def without_identity(document: Document) -> Document:
    """Return what may be shown of an Instance: only attributes that stay as they are.

    Source: PS3.15 §E.2, Table E.1-1
    """
    return Document(_safe(document.members), document.bulk, document.path)


def _safe(members: Any) -> dict[str, Any]:
    safe = {}
    for tag, member in members.items():
        if action_of(int(tag, 16), member.get("vr", "UN")) is not Action.KEEP:
            continue
        if member.get("vr") == "SQ":
            items = [_safe(item) for item in member.get("Value", ()) if isinstance(item, dict)]
            member = {"vr": "SQ", "Value": items}  # noqa: PLW2901
        safe[tag] = member
    return safe
