"""What a Data Set says at its beginning that it is: its SOP Class and Instance (PS3.3 §C.12.1)."""

from app.dicom.headers import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED,
    Encoding,
    is_cut,
    read_header,
)
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN, find

START_BYTES = 4096
_HEADER_BYTES = 12
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018


def named_uids(start: bytes, transfer_syntax_uid: str) -> tuple[str, str] | None:
    """Return SOP Class and SOP Instance UID, '' for one that is not there.

    `start` are the first bytes of a Data Set, `START_BYTES` of a longer one. None if they do not
    tell: it is deflated, or what stands before is longer than they are, or of undefined length.

    Source: PS3.3 §C.12.1, PS3.5 §7.1
    """
    encoding = _encoding_of(transfer_syntax_uid)
    if encoding is None:
        return None
    found = {_SOP_CLASS: "", _SOP_INSTANCE: ""}
    position = 0
    while not is_cut(head := start[position : position + _HEADER_BYTES], encoding):
        header = read_header(head, encoding)
        if header.tag > _SOP_INSTANCE:
            return found[_SOP_CLASS], found[_SOP_INSTANCE]
        begin = position + header.size
        position = begin + header.length
        if header.length == UNDEFINED or position > len(start):
            return None
        if header.tag in found:
            found[header.tag] = start[begin:position].decode("latin-1").strip("\0 ")
    return None


def _encoding_of(transfer_syntax_uid: str) -> Encoding | None:
    if transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN:
        return IMPLICIT_LITTLE
    row = find(transfer_syntax_uid)
    if row is None or row.deflated:
        return None
    return EXPLICIT_BIG if row.big_endian else EXPLICIT_LITTLE
