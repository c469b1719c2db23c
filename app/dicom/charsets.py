"""Specific Character Set: which codecs it names, and text by them (PS3.5 §6.1, PS3.3 §C.12.1.1.2).

pydicom's tables are the authority. Its own functions are not used for decoding, as they warn for
each value that does not fit and take any codec that Python knows (`unicode_escape` among them).
"""

import re
from functools import lru_cache

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, python_encoding

DEFAULT = ("iso8859",)
_KEEPS_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2", "iso_ir_58"})
_PIECES = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_RESETS = re.compile(rb"[\r\n\t\f]")

_LENIENT = {
    "UTF-8": "UTF8", "UTF8": "UTF8", "UTF_8": "UTF8", "ISO_IR_192": "UTF8",
    "ISO8859": "iso8859", "ISO8859-1": "latin_1", "ISO-8859-1": "latin_1", "LATIN1": "latin_1",
    "ASCII": "ascii", "SHIFT_JIS": "shift_jis", "EUC_KR": "euc_kr", "EUC_JP": "euc_jp",
    "GB2312": "gb2312", "BIG5": "big5", "KOI8-R": "koi8_r", "CP1251": "cp1251", "CP1252": "cp1252",
}  # fmt: skip
"""Names that are none of the standard's but are met, upper case."""


@lru_cache(512)
def encodings_of(raw: bytes) -> tuple[str, ...]:
    """Return the codecs that a value of Specific Character Set names, the first the initial one.

    Common misspellings are understood as pydicom understands them; what nobody knows counts as
    the default repertoire.

    Source: PS3.3 §C.12.1.1.2
    """
    names = raw.decode("latin-1").rstrip(" \0").split("\\")
    if len(names) > 1 and names[0] in STAND_ALONE_ENCODINGS:
        names = names[:1]
    codecs = [
        _codec(name) for i, name in enumerate(names) if i == 0 or name not in STAND_ALONE_ENCODINGS
    ]
    return tuple(codecs)


def _codec(name: str) -> str:
    known = python_encoding.get(name)
    if known is None:
        known = python_encoding.get(_corrected(name)) or _LENIENT.get(name.strip().upper())
    return known or DEFAULT[0]


def _corrected(name: str) -> str:
    if re.match("ISO[^_]IR", name):
        return "ISO_IR" + name[6:]
    if re.match("ISO.2022.IR.", name):
        return "ISO 2022 IR " + name[12:]
    return name


def decode(value: bytes, encodings: tuple[str, ...]) -> str:
    """Return a text value; bytes that its character set does not know become U+FFFD.

    Pads and delimiters are left in place.

    Source: PS3.5 §6.1.2.4, §6.1.2.5
    """
    if b"\x1b" not in value:
        return value.decode(encodings[0], "replace")
    return "".join(_piece(piece, encodings) for piece in _PIECES.findall(value))


def _piece(piece: bytes, encodings: tuple[str, ...]) -> str:
    if piece[0] != 0x1B:
        return piece.decode(encodings[0], "replace")
    width = 4 if piece.startswith((b"\x1b$(", b"\x1b$)")) else 3
    codec = CODES_TO_ENCODINGS.get(piece[:width], "")
    if codec not in encodings and codec != DEFAULT[0]:
        return piece.decode(encodings[0], "replace")
    try:
        return _designated(piece, width, codec, encodings[0])
    except UnicodeError:
        return piece.decode(encodings[0], "replace")


def _designated(piece: bytes, width: int, codec: str, initial: str) -> str:
    if codec in _KEEPS_ESCAPES:
        return piece.decode(codec)
    text = piece[width:]
    reset = _RESETS.search(text)
    if reset is None:
        return text.decode(codec)
    return text[: reset.start()].decode(codec) + text[reset.start() :].decode(initial)
