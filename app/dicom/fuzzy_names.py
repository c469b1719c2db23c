"""Person names that are nearly the same: by their words, in any order (PS3.18 §8.3.4.2).

A name is cut into words wherever a component, a blank or a mark ends one. A word that is asked for
is found in a name which has a word that

* begins with it, or
* differs by one letter: leaving out at most one letter of each makes the two the same, where only
  words of five letters or more may lose one (smit, smith, smiht), or
* sounds like it (`phonetics`), if that is two sounds or more; words that begin with a vowel have
  to begin with the same one.

Words of Chinese, Japanese and Korean are found anywhere in a name, whether its components are
parted or not, and in either kana. What can be looked up is kept as numbers, the *keys*, in one
array for each name: each word, the word with each letter left out, its first one to four letters,
its sounds, and the words of a component as one (o'brien, obrien).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from app.dicom.phonetics import sounds
from app.dicom.wildcards import fits

SEPARATORS = " ^=-'’`.,/()_&+:;\""
SHORTEST_WITH_SLIPS = 5
LONGEST_BEGINNING = 4
"""Beginnings up to so many letters have keys."""
MOST_SOUNDS = 8
MOST_WORDS = 24
BLANKS = " " * len(SEPARATORS)
"""What separators become where words are looked for by their beginning."""

_CLASS = "".join(f"\\{mark}" for mark in SEPARATORS)
_BLANKED = str.maketrans(SEPARATORS, BLANKS)
_BETWEEN = re.compile(f"[{_CLASS}]+")
_FIRST_EASTERN = "\u2e80"
_KANA = 0x60  # from a hiragana to its katakana
_WILD = {"*": f"[^{_CLASS}]*", "?": f"[^{_CLASS}]"}


@dataclass(frozen=True, slots=True)
class Word:
    """One word that a name has to have: any of `keys`, or what the other members say.

    A name with a word that begins with `beginning` has one of `candidates` as a key. `expression`
    is a regular expression for PostgreSQL, of which `pattern` is what Python matches words with; if
    that is '' the expression is for both. All are for names folded by `fold_person_name`.
    """

    keys: tuple[int, ...] = ()
    beginning: str = ""
    candidates: tuple[int, ...] = ()
    expression: str = ""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a name that is asked for: all its words, or all of them as one."""

    words: tuple[Word, ...]
    joined: Word | None = None


@lru_cache(1024)
def name_keys(folded: str) -> tuple[int, ...]:
    """Return the keys of a name that `fold_person_name` folded, ascending and each once.

    Source: PS3.18 §8.3.4.2
    """
    keys: set[int] = set()
    for component in re.split(r"[\^=]", folded):
        words = _words(component)
        for word in [*words, "".join(words)] if len(words) > 1 else words:
            if word < _FIRST_EASTERN:
                keys.update(_near(word))
                keys.update(_beginning(word[:end]) for end in range(1, LONGEST_BEGINNING + 1))
    return tuple(sorted(keys))


def name_parts(groups: Iterable[str]) -> tuple[Part, ...]:
    """Return what a name has to have, given folded component groups, with wildcards or not.

    Source: PS3.18 §8.3.4.2
    """
    components = [_words(part) for group in groups for part in re.split(r"[\^=]", group)]
    return tuple(_part(words) for words in components if words)


def is_near(folded: str, parts: Iterable[Part]) -> bool:
    """Say whether a name that `fold_person_name` folded has all parts.

    Source: PS3.18 §8.3.4.2
    """
    keys, blanked = frozenset(name_keys(folded)), folded.translate(_BLANKED)

    def has(word: Word) -> bool:
        if word.pattern:
            return any(fits(f"{word.pattern}*", each) for each in blanked.split())
        if word.expression:
            return re.search(word.expression, folded) is not None
        begins = bool(word.beginning) and f" {word.beginning}" in blanked
        return begins or not keys.isdisjoint(word.keys)

    return bool(folded) and all(
        all(map(has, part.words)) or (part.joined is not None and has(part.joined))
        for part in parts
    )


def _words(component: str) -> list[str]:
    return [word for word in _BETWEEN.split(component) if word.strip("*?")]


def _part(words: list[str]) -> Part:
    each = [_word(word.strip("*")) for word in words]
    plain = not any(sign in word.strip("*") for word in words for sign in _WILD)
    joined = _word("".join(word.strip("*") for word in words)) if plain and len(words) > 1 else None
    return Part(tuple(each), joined)


def _word(word: str) -> Word:
    if any(sign in word for sign in _WILD):
        pattern = "".join(_WILD.get(sign) or _literal(sign) for sign in word)
        return Word(expression=f"[{_CLASS}]{pattern}", pattern=word)
    if word >= _FIRST_EASTERN:
        return Word(expression=f"[{_CLASS}]*".join(_either_kana(sign) for sign in word))
    keys, beginning = _near(word), _beginning(word[:LONGEST_BEGINNING])
    if len(word) <= LONGEST_BEGINNING:
        return Word(tuple(sorted({beginning, *keys})))
    return Word(tuple(sorted(keys)), word, (beginning,))


def _literal(sign: str) -> str:
    return sign if sign.isalnum() else f"\\{sign}"


def _either_kana(sign: str) -> str:
    if "\u3041" <= sign <= "\u3096":
        return f"[{sign}{chr(ord(sign) + _KANA)}]"
    if "\u30a1" <= sign <= "\u30f6":
        return f"[{sign}{chr(ord(sign) - _KANA)}]"
    return _literal(sign)


def _near(word: str) -> set[int]:
    """Return the keys that two words share if they are alike."""
    forms = {word}
    if len(word) >= SHORTEST_WITH_SLIPS:
        forms.update(word[:place] + word[place + 1 :] for place in range(len(word)))
    vowel = word[0] if word[0] in "aeiou" else ""
    forms.update(f"~{vowel}{code}" for code in sounds(word)[:MOST_SOUNDS] if code[1] != "0")
    return {_key(form) for form in forms}


def _beginning(text: str) -> int:
    return _key(f"{text}*")


def _key(text: str) -> int:
    return crc32(text.encode()) - 2**31
