"""Signs of 5 × 7 dots for what is written over pictures, with their marks; others are a box."""

import re
import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.dicom.letters import ABOVE, BELOW, LETTERS, SAME

WIDTH, GAP = 5, 1
_TOP = 3
HEIGHT = _TOP + 7 + 1
"""Rows of a line: for marks above, of letters, for marks below."""
_BOX = "1f11111111111f"
_ROWS = {
    " ": "00000000000000", "!": "04040404040004", '"': "0a0a0000000000", "#": "0a0a1f0a1f0a0a",
    "$": "040f140e051e04", "%": "18190204081303", "&": "0c12140815120d", "'": "04040000000000",
    "(": "02040808080402", ")": "08040202020408", "*": "0004150e150400", "+": "0004041f040400",
    ",": "00000000060408", "-": "0000001f000000", ".": "00000000000c0c", "/": "00010204081000",
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e",
    "4": "02060a121f0202", "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808",
    "8": "0e11110e11110e", "9": "0e11110f01020c", ":": "000c0c000c0c00", ";": "000c0c000c0408",
    "<": "02040810080402", "=": "00001f001f0000", ">": "08040201020408", "?": "0e110102040004",
    "@": "0e11010d15150e", "A": "0e1111111f1111", "B": "1e11111e11111e", "C": "0e11101010110e",
    "D": "1c12111111121c", "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f",
    "H": "1111111f111111", "I": "0e04040404040e", "J": "0702020202120c", "K": "11121418141211",
    "L": "1010101010101f", "M": "111b1515111111", "N": "11111915131111", "O": "0e11111111110e",
    "P": "1e11111e101010", "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e",
    "T": "1f040404040404", "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a",
    "X": "11110a040a1111", "Y": "1111110a040404", "Z": "1f01020408101f", "[": "0e08080808080e",
    "\\": "00100804020100", "]": "0e02020202020e", "^": "040a1100000000", "_": "0000000000001f",
    "`": "08040200000000", "a": "00000e010f110f", "b": "1010161911111e", "c": "00000e1010110e",
    "d": "01010d1311110f", "e": "00000e111f100e", "f": "0609081c080808", "g": "000f11110f010e",
    "h": "10101619111111", "i": "04000c0404040e", "j": "0200060202120c", "k": "10101214181412",
    "l": "0c04040404040e", "m": "00001a15151111", "n": "00001619111111", "o": "00000e1111110e",
    "p": "00001e111e1010", "q": "00000d130f0101", "r": "00001619101010", "s": "00000e100e011e",
    "t": "08081c08080906", "u": "0000111111130d", "v": "00001111110a04", "w": "0000111115150a",
    "x": "0000110a040a11", "y": "000011110f010e", "z": "00001f0204081f", "{": "02040408040402",
    "|": "04040404040404", "}": "08040402040408", "~": "00000815020000",
}  # fmt: skip
"""Seven rows of each sign, two digits a row, its bit of 16 on the left."""


@lru_cache(maxsize=512)
def _glyph(sign: str, marks: str) -> NDArray[np.bool_]:
    """Return a sign with its marks, (HEIGHT, WIDTH)."""
    shown = np.zeros((HEIGHT, WIDTH), np.bool_)
    body = _dots(_ROWS.get(sign) or LETTERS.get(sign) or _BOX)
    is_low = not body[:2].any()
    if sign in "ij" and marks:
        body[0] = False
        is_low = True
    shown[_TOP : _TOP + len(body)] = body
    for mark in marks:
        if mark in ABOVE:
            at = 2 if is_low else 0
            shown[at : at + 2] |= _dots(ABOVE[mark])
        shown[-1:] |= _dots(BELOW.get(mark, "00"))
    return shown


def _dots(rows: str) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(rows), np.uint8)[:, None], axis=1)
    return bits[:, 8 - WIDTH :].astype(np.bool_)


_MICRO = re.compile("\N{MICRO SIGN}|\N{GREEK SMALL LETTER MU}(?=[A-Za-z])")
"""Whose capital would be an M, which is another unit."""


def _signs(text: str) -> list[tuple[str, str]]:
    """Return the signs of a text as they are drawn, each with its marks."""
    signs: list[tuple[str, str]] = []
    for sign in unicodedata.normalize("NFKD", _MICRO.sub("u", text)):
        if unicodedata.combining(sign):
            if signs:
                signs[-1] = signs[-1][0], signs[-1][1] + sign
        elif sign in _ROWS or sign in LETTERS:
            signs.append((sign, ""))
        else:
            capital = sign.upper()
            signs.append((SAME.get(capital, capital), ""))
    return signs


def written(text: str, size: int = 1) -> NDArray[np.bool_]:
    """Return a line of text as dots, each `size` pixels wide and high.

    Greek and Cyrillic are written in capitals. What no sign here stands for is an empty box.

    Source: PS3.18 §8.3.5.1.1; PS3.3 §C.10.5 (how to write is left to us)
    """
    signs = _signs(text)
    line = np.zeros((HEIGHT, len(signs) * (WIDTH + GAP)), np.bool_)
    for number, (sign, marks) in enumerate(signs):
        at = number * (WIDTH + GAP)
        line[:, at : at + WIDTH] = _glyph(sign, marks)
    return line.repeat(size, axis=0).repeat(size, axis=1)
