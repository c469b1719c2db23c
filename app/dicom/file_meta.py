"""The preamble and the File Meta Information (PS3.10 §7.1), or their absence."""

from dataclasses import dataclass
from struct import pack, unpack_from

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.dicom.headers import ALL_VRS, LONG_VRS, SHORT_VRS
from app.errors import InvalidDataset

HEAD_BYTES = 2**16
"""As much of an object as is read to find where its Data Set begins."""

IMPLEMENTATION_CLASS_UID = "2.25.202373115094331917276217418530182046641"
_TRANSFER_SYNTAX_UID = b"\x10\0"
_COMMAND_SET = b"\0\0\0\0\4\0\0\0"
"""How a Command Set begins: its group length (PS3.7 §6.3.1)."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What stands before the Data Set; `transfer_syntax_uid` is guessed where it is not said."""

    transfer_syntax_uid: str
    dataset_offset: int
    elements_offset: int
    """Where Data Elements begin: after the Command Set that some programs leave in between."""
    has_preamble: bool


def read_file_meta(head: bytes) -> FileMeta:
    """Read what stands before the Data Set; `head` is the first 64 KiB, or all of a shorter object.

    The group length is not relied on: group 2 ends where another group begins. An object without
    preamble, without File Meta Information or without a Transfer Syntax is read by what its first
    element looks like, as pydicom does with `force`.

    Raises:
        InvalidDataset: this is no DICOM, or its File Meta Information is cut short or over 64 KiB.

    Source: PS3.10 §7.1
    """
    has_preamble = head[128:132] == b"DICM"
    start = 132 if has_preamble else len(find_bare_prefix(head))
    offset, uid = _group_2(head, start)
    if not (uid or has_preamble or _looks_like_dicom(head, offset)):
        raise InvalidDataset("this is no DICOM: neither a preamble nor a Data Set was found")
    elements = _group_0(head, offset)
    return FileMeta(uid or _guess(head[elements : elements + 6]), offset, elements, has_preamble)


def find_bare_prefix(head: bytes) -> bytes:
    """Return the `DICM` that begins an object whose preamble was left out, else nothing.

    Source: PS3.10 §7.1
    """
    return b"DICM" if head.startswith(b"DICM\x02\x00") else b""


def find_dataset_offset(head: bytes) -> int:
    """Return where the Data Set begins: after preamble and group 2, or 0 when there is neither.

    Raises:
        InvalidDataset: as `read_file_meta`.

    Source: PS3.10 §7.1
    """
    return read_file_meta(head).dataset_offset


def _group_2(head: bytes, position: int) -> tuple[int, str]:
    """Return where group 2 ends, and the Transfer Syntax UID in it or ""."""
    uid = ""
    while head[position : position + 2] == b"\x02\x00":
        vr = head[position + 4 : position + 6]
        if vr in SHORT_VRS:
            start = position + 8
            end = start + int.from_bytes(head[position + 6 : start], "little")
        else:
            start = position + (12 if vr in LONG_VRS else 8)
            end = start + int.from_bytes(head[start - 4 : start], "little")
        if end > len(head) or start > len(head):
            raise InvalidDataset("the File Meta Information is cut short or too long", 0xC001)
        if head[position + 2 : position + 4] == _TRANSFER_SYNTAX_UID:
            uid = head[start:end].decode("latin-1").strip("\0 ")
        position = end
    return position, uid


def _group_0(head: bytes, position: int) -> int:
    """Return where a Command Set ends; it is implicit VR Little Endian (PS3.7 §6.3.1)."""
    while head[position : position + 2] == b"\0\0" and len(head) >= position + 8:
        element, length = unpack_from("<HL", head, position + 2)
        if (element, length) == (0, 0) or position + 8 + length > len(head):
            break
        position += 8 + length
    return position


def _looks_like_dicom(head: bytes, offset: int) -> bool:
    """Say whether bytes without a preamble begin as a Data Set does: a low group, a fitting VR."""
    first = head[offset : offset + 8]
    if first[4:6] in ALL_VRS:
        return 0 in first[:2]
    in_group_8 = first[:2] == b"\x08\0" and first[6:] == b"\0\0"
    return in_group_8 or first == _COMMAND_SET


def _guess(first: bytes) -> str:
    """Return the uncompressed Transfer Syntax that the first element looks like."""
    if first[4:6] not in ALL_VRS:
        return str(ImplicitVRLittleEndian)
    big_endian = int.from_bytes(first[:2], "little") >= 0x0400
    return str(ExplicitVRBigEndian if big_endian else ExplicitVRLittleEndian)


def add_file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and File Meta Information for a Data Set that came without.

    The same for the same UIDs, so that what is stored twice is the same twice.

    Source: PS3.10 §7.1
    """
    elements = b"".join(
        (
            pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _uid_element(0x0002, sop_class_uid),
            _uid_element(0x0003, sop_instance_uid),
            _uid_element(0x0010, transfer_syntax_uid),
            _uid_element(0x0012, IMPLEMENTATION_CLASS_UID),
        )
    )
    return bytes(128) + b"DICM" + pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


def _uid_element(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    return pack("<HH2sH", 2, element, b"UI", len(value)) + value
