"""Text as it is compared: case, accents, width and the groups of person names.

The same functions run when an Instance is stored and when a search asks, so both sides always
agree. What they return is for the index alone; answers carry the text as it was stored.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date

LONGEST = 256
"""Characters of a value that are compared; a longer one is cut on both sides."""
LONGEST_GROUP = 128
"""The same for each component group of a name: three of them have to fit an index's entry."""

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

# Latin letters that have no decomposition, and what people type instead.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"}
)


def clean_text(text: str) -> str:
    """Return `text` as it is compared where case counts: without padding, NUL, or excess length.

    Source: PS3.5 §6.2
    """
    return text.replace("\0", "").strip(" ")[:LONGEST]


def fold_text(text: str) -> str:
    """Return `text` without case, accents and width; other scripts keep their marks.

    Only marks of the block U+0300 are dropped: the voicing marks of kana, the vowels of Arabic and
    the like make other words. Spaces are single.

    Source: PS3.4 §C.2.2.2.1 (names may be compared without case, accents and width)
    """
    text = text.replace("\0", "")
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        bare = "".join(mark for mark in parts if not "\u0300" <= mark <= "\u036f")
        text = unicodedata.normalize("NFC", bare.casefold().translate(_LETTERS))
    return " ".join(text.lower().split())


def _fold_group(group: str) -> str:
    components = group.replace("\0", "").split("^")
    folded = [fold_text(component).replace("=", " ") for component in components]
    return "^".join(folded)[:LONGEST_GROUP].rstrip("^ ")


def fold_name_groups(name: str) -> list[str]:
    """Return the component groups of a person name, folded, without trailing empty components.

    `name` is as in a data element or a query: groups apart by `=`. There are one to three of them.

    Source: PS3.5 §6.2.1 (groups and components; trailing delimiters are insignificant)
    """
    groups = [_fold_group(group) for group in name.split("=", 2)]
    while len(groups) > 1 and not groups[-1]:
        groups.pop()
    return groups


def fold_person_name(value: Mapping[str, str]) -> str:
    """Return a person name of DICOM JSON as one line that all groups can be found in.

    That is `=alphabetic=ideographic=phonetic=`, each folded; '' if all are empty. The marks at
    both ends of each group let a pattern say where a group begins and ends.

    Source: PS3.18 §F.2.2 (person names in DICOM JSON)
    """
    groups = [_fold_group(value.get(group) or "") for group in _GROUPS]
    return f"={'='.join(groups)}=" if any(groups) else ""


def clean_date(text: str) -> str:
    """Return a DA value as YYYYMMDD, '' if it is no day; the old form 2001.02.03 is understood.

    Source: PS3.5 §6.2, DA (and its note on ACR-NEMA 300)
    """
    digits = text.strip(" \0").replace(".", "")
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return ""
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return ""
    return digits


def clean_time(text: str) -> str:
    """Return a TM value as HHMMSS[.F…], missing parts zero, '' if it is none.

    The old form 10:11:12 is understood; a leap second counts as the one before it.

    Source: PS3.5 §6.2, TM (and its note on ACR-NEMA 300)
    """
    whole, _, fraction = text.strip(" \0").replace(":", "").partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()) or len(whole) not in (2, 4, 6):
        return ""
    if fraction and len(whole) < 6:
        return ""
    whole = whole.ljust(6, "0")
    if whole[:2] > "23" or whole[2:4] > "59" or whole[4:] > "60":
        return ""
    whole = f"{whole[:4]}{min(whole[4:], '59')}"
    fraction = fraction[:6].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def clean_datetime(text: str) -> str:
    """Return a DT value as YYYYMMDDHHMMSS[.F…], missing parts at their least, '' if it is none.

    An offset from UTC is left out.

    Source: PS3.5 §6.2, DT
    """
    found = re.fullmatch(
        r"([0-9]{4})([0-9]{2})?([0-9]{2})?((?:[0-9]{2}){0,3}(?:\.[0-9]{1,6})?)([+-][0-9]{4})?",
        text.strip(" \0"),
        re.ASCII,
    )
    if found is None:
        return ""
    year, month, day, rest, _ = found.groups()
    date, time = clean_date(f"{year}{month or '01'}{day or '01'}"), clean_time(rest or "00")
    return f"{date}{time}" if date and time else ""


def clean_integer(value: object, bits: int = 64) -> int | None:
    """Return a number of an IS, US or UL value if a signed integer of `bits` holds it.

    Source: PS3.5 §6.2, IS
    """
    try:
        number = int(value) if isinstance(value, (int, str)) else int(float(str(value)))
    except (ValueError, OverflowError):
        return None
    return number if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None
