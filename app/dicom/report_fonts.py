"""The typefaces of a report on paper: Noto Sans for every script that a text is written in."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

LATIN = ""
"""The face of Latin, Greek and Cyrillic, and of what no other one has."""
EAST_ASIAN = "CJK"
_BLOCKS = (
    (0x0000, LATIN), (0x0530, "Armenian"), (0x0590, "Hebrew"), (0x0600, "Arabic"), (0x0700, LATIN),
    (0x0750, "Arabic"), (0x0780, LATIN), (0x0870, "Arabic"), (0x0900, "Devanagari"),
    (0x0980, "Bengali"), (0x0A00, "Gurmukhi"), (0x0A80, "Gujarati"), (0x0B00, "Oriya"),
    (0x0B80, "Tamil"), (0x0C00, "Telugu"), (0x0C80, "Kannada"), (0x0D00, "Malayalam"),
    (0x0D80, "Sinhala"), (0x0E00, "Thai"), (0x0E80, "Lao"), (0x0F00, LATIN), (0x1000, "Myanmar"),
    (0x10A0, "Georgian"), (0x1100, EAST_ASIAN), (0x1200, "Ethiopic"), (0x13A0, LATIN),
    (0x1780, "Khmer"), (0x1800, LATIN), (0x1C90, "Georgian"), (0x1CC0, LATIN),
    (0x2190, "Symbols"), (0x2200, EAST_ASIAN), (0x2300, "Symbols"), (0x2460, EAST_ASIAN),
    (0x2600, "Symbols"), (0x2C00, LATIN), (0x2D00, "Georgian"), (0x2D30, LATIN),
    (0x2E80, EAST_ASIAN), (0xA4D0, LATIN), (0xA960, EAST_ASIAN), (0xA980, LATIN),
    (0xAC00, EAST_ASIAN), (0xD800, LATIN), (0xF900, EAST_ASIAN), (0xFB00, LATIN),
    (0xFB13, "Armenian"), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, LATIN),
    (0xFE30, EAST_ASIAN), (0xFE70, "Arabic"), (0xFF00, EAST_ASIAN), (0xFFF0, LATIN),
    (0x20000, EAST_ASIAN), (0x40000, LATIN),
)  # fmt: skip
"""Where a run of blocks begins that one face has; its end is the next one's beginning."""
_STARTS = [start for start, _ in _BLOCKS]
_JAPANESE, _KOREAN, _CHINESE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Face:
    """A file of one face, `number` among those in it."""

    family: str
    path: Path
    number: int = 0


def faces_of(texts: Iterable[str]) -> list[Face]:
    """Return the faces that texts are set in, the Latin one first.

    Signs that Chinese, Japanese and Korean share look as in the language of the other signs.

    Source: PS3.3 §C.12.1.1.2 (texts are of any character set)
    """
    signs = {ord(sign) for text in texts for sign in text}
    scripts = {_BLOCKS[bisect_right(_STARTS, sign) - 1][1] for sign in signs} | {LATIN}
    return [_face(script, signs) for script in sorted(scripts)]


def _face(script: str, signs: set[int]) -> Face:
    if script == EAST_ASIAN:
        path = files("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc"
        return Face("noto-cjk", Path(str(path)), _language(signs))
    path = files("manimgx_fonts") / f"NotoSans{script}[wght].ttf"
    return Face(f"noto-{script.lower() or 'latin'}", Path(str(path)))


def _language(signs: set[int]) -> int:
    if any(0x3040 <= sign <= 0x30FF or 0xFF66 <= sign <= 0xFF9F for sign in signs):
        return _JAPANESE
    korean = any(0xAC00 <= sign <= 0xD7FF or 0x1100 <= sign <= 0x11FF for sign in signs)
    return _KOREAN if korean else _CHINESE
