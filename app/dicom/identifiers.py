"""Identifiers of queries (PS3.4 §C.2.2): read as DICOM JSON, and written in a character set.

What a match says is never lost: text that the wanted Specific Character Set has no code for makes
the whole Identifier one in UTF-8, which says so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Any

import orjson
from pydicom.charset import encode_string
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from app.dicom.charsets import DEFAULT, decode, encodings_of
from app.dicom.file_meta import add_file_meta
from app.dicom.headers import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    read_header,
)
from app.dicom.json_values import (
    VRS,
    decode_inline,
    encode_values,
    names_character_set,
    padded,
)
from app.dicom.limits import Limits
from app.dicom.members import SPECIFIC_CHARACTER_SET
from app.dicom.rewrite import element_header, implicit_header
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN
from app.errors import InvalidDataset

UTF_8 = "ISO_IR 192"
_CHARACTER_SET = f"{SPECIFIC_CHARACTER_SET:08X}"
_LIMITS = Limits(header_bytes=2**24, elements=10_000, nesting_depth=8)
_ITEM_START = pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, UNDEFINED)
_ITEM_STOP = pack("<HHL", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
_SEQUENCE_STOP = pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
_REAL_CODECS = {"iso_ir_58": "gb2312", DEFAULT[0]: "ascii"}
"""What Python calls them; the default repertoire is ASCII, though pydicom reads more in it."""
_DEFAULT_REPERTOIRE = "ISO_IR 6"
_JIS_X_0201 = "shift_jis"
"""Has the one-byte characters of that alone (PS3.3 §C.12.1.1.2)."""


def read_identifier(data: bytes, transfer_syntax_uid: str) -> dict[str, Any]:
    """Return the Identifier of a request as a DICOM JSON object, text decoded by its character set.

    Raises:
        InvalidDataset: it cannot be understood.

    Source: PS3.4 §C.2.2, PS3.18 Annex F
    """
    meta = add_file_meta("1.2", "1.2", transfer_syntax_uid)
    scanned = scan(BytesSource(meta + data), _LIMITS)
    read: dict[str, Any] = orjson.loads(scanned.metadata)
    for key, place in scanned.bulk_values.items():
        if place.vr == "UN" and len(key) == 8 and dictionary_has_tag(int(key, 16)):
            start = place.offset - len(meta)
            read |= _too_long_for_its_vr(key, data[start : start + place.length])
    return read


def is_uid_key(key: str) -> bool:
    """Say whether a key, eight hexadecimal digits, is one of UIDs, which may be a list.

    Source: PS3.4 §C.2.2.2.2; PS3.6 §6
    """
    tag = int(key, 16) if len(key) == 8 and not set(key) - set("0123456789ABCDEF") else 0
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "UI"


def _too_long_for_its_vr(key: str, value: bytes) -> dict[str, Any]:
    """Return an element that is UN since its value is too long for the length of its own VR.

    Source: PS3.5 §6.2.2
    """
    again = implicit_header(int(key, 16), "UN", len(value)) + value
    meta = add_file_meta("1.2", "1.2", IMPLICIT_LITTLE_ENDIAN)
    read: dict[str, Any] = orjson.loads(scan(BytesSource(meta + again), _LIMITS).metadata)
    return read


def character_set_of(data: bytes, transfer_syntax_uid: str) -> str:
    """Return the Specific Character Set of an Identifier as it stands there, '' for none.

    Source: PS3.4 §C.4.1.1.3
    """
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
    encoding = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE
    at = 0
    while at + 8 <= len(data):
        header = read_header(data[at : at + 12].ljust(12, b"\0"), encoding)
        at += header.size
        if header.tag >= SPECIFIC_CHARACTER_SET:
            value = data[at : at + header.length] if header.tag == SPECIFIC_CHARACTER_SET else b""
            return value.decode("latin-1").strip(" \0")
        at += header.length
    return ""


@dataclass(frozen=True, slots=True)
class _Writer:
    """How an Identifier is written: headers, and text that came as UTF-8."""

    header: Callable[[int, str, int], bytes]
    text: Callable[[bytes], bytes]


def write_identifier(match: Mapping[str, Any], character_set: str, *, implicit: bool) -> bytes:
    """Encode a DICOM JSON object, little endian, in a character set if it has all characters.

    `character_set` is a value of Specific Character Set, '' for the default repertoire; what it
    cannot say is said in UTF-8. Values that are none of their VR are left empty.

    Source: PS3.4 §C.4.1.1.3, PS3.5 §6.1, §7.1
    """
    header = implicit_header if implicit else element_header
    try:
        return _whole(_Writer(header, _encoder(character_set)), match, character_set)
    except UnicodeError:
        return _whole(_Writer(header, bytes), match, UTF_8)


def _whole(writer: _Writer, match: Mapping[str, Any], character_set: str) -> bytes:
    kept = dict(match)
    kept.pop(_CHARACTER_SET, None)
    if character_set:
        kept[_CHARACTER_SET] = {"vr": "CS", "Value": character_set.split("\\")}
    return b"".join(_elements(writer, kept))


def _elements(writer: _Writer, dataset: Mapping[str, Any]) -> Iterator[bytes]:
    for key in sorted(dataset):
        tag, content = int(key, 16), dataset[key]
        if content.get("vr") == "SQ":
            yield from _sequence(writer, tag, content.get("Value") or [])
            continue
        vr, value = _value(key, content)
        if names_character_set(vr):
            value = padded(vr, writer.text(value.rstrip(b" ") if value else value))
        yield writer.header(tag, vr, len(value)) + value


def _sequence(writer: _Writer, tag: int, items: list[Any]) -> Iterator[bytes]:
    yield writer.header(tag, "SQ", UNDEFINED)
    for item in items:
        yield _ITEM_START
        yield from _elements(writer, item)
        yield _ITEM_STOP
    yield _SEQUENCE_STOP


def _value(key: str, content: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return VR and bytes, text in UTF-8."""
    vr = str(content.get("vr", "UN"))
    vr = vr if vr in VRS else "UN"
    try:
        if "InlineBinary" in content:
            return vr, decode_inline(key, vr, content["InlineBinary"])
        return vr, encode_values(key, vr, content.get("Value") or [])
    except InvalidDataset:
        return vr, b""


def _encoder(character_set: str) -> Callable[[bytes], bytes]:
    """Return what makes text of UTF-8 one of a character set, or raises UnicodeError."""
    encodings = encodings_of((character_set or _DEFAULT_REPERTOIRE).encode("latin-1", "replace"))
    if encodings[0] == "UTF8":
        return bytes

    def encode(value: bytes) -> bytes:
        if value.isascii():
            return value
        text = value.decode()
        if len(encodings) > 1:
            return _in_several(text, encodings)
        if not all(_has(encodings[0], character) for character in text):
            raise UnicodeError
        return text.encode(_REAL_CODECS.get(encodings[0], encodings[0]))

    return encode


def _in_several(text: str, encodings: tuple[str, ...]) -> bytes:
    """Encode text with code extensions, each part of a name or list by itself (PS3.5 §6.1.2.5)."""
    pieces: list[bytes] = []
    part = ""
    for character in [*text, ""]:
        if character and character not in "^=\\\r\n\t\f":
            part += character
            continue
        if part:
            pieces.append(_part(part, encodings))
        pieces.append(character.encode())
        part = ""
    return b"".join(pieces)


def _part(part: str, encodings: tuple[str, ...]) -> bytes:
    for character in part:
        if encodings[0] == DEFAULT[0] and "\x7f" < character <= "\xff":
            raise UnicodeError
        if not any(_has(codec, character) for codec in encodings):
            raise UnicodeError
    encoded = encode_string(part, list(encodings))
    if decode(encoded, encodings) != part:
        raise UnicodeError
    return encoded


def _has(codec: str, character: str) -> bool:
    real = _REAL_CODECS.get(codec, codec)
    try:
        encoded = character.encode(real)
    except UnicodeError:
        return False
    if codec == _JIS_X_0201 and len(encoded) > 1:
        return False
    return encoded.decode(real) == character  # not a yen sign as a backslash
