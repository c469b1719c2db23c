"""Rules of matching as SQL, held against the same rules in Python."""

import re
from random import Random

import pytest

from app.dicom.attributes import TABLE, Attribute
from app.dicom.folding import fold_person_name
from app.dicom.rules import Like, Match, Name, Rule
from app.index.conditions import Arguments, conditions
from app.index.engine import Index
from app.rights import Scope

ALPHABET = "ab%_\\.[]^$(|+{é山 "
DESCRIPTION = next(row for row in TABLE if row.keyword == "StudyDescription")
PATIENT_NAME = next(row for row in TABLE if row.keyword == "PatientName")


async def find(index: Index, attribute: Attribute, rule: Rule, values: list[str]) -> list[str]:
    """Return which of the values, as the index keeps them, meet a rule."""
    arguments = Arguments(Scope(), None)
    (condition,) = conditions([Match(attribute, rule)], arguments)
    listed = arguments.add(values)
    rows = await index.fetch(
        f"SELECT {attribute.column} FROM unnest({listed}::text[]) AS s ({attribute.column})"  # noqa: S608
        f" WHERE {condition} AND $1::integer = 1",
        *arguments,
    )
    return [row[0] for row in rows]


def as_expression(pattern: str, character: str = ".") -> str:
    wild = {"*": f"{character}*", "?": character}
    return "".join(wild.get(sign) or re.escape(sign) for sign in pattern)


def make_text(random: Random, alphabet: str) -> str:
    return "".join(random.choice(alphabet) for _ in range(random.randint(0, 6)))


@pytest.mark.parametrize("seed", range(3))
async def test_wildcards_are_the_only_signs_with_a_meaning(index: Index, seed: int) -> None:
    random = Random(seed)
    values = [make_text(random, ALPHABET) for _ in range(300)]
    for _ in range(60):
        pattern = make_text(random, ALPHABET + "*?*?")
        expression = re.compile(as_expression(pattern), re.DOTALL)
        expected = [value for value in values if expression.fullmatch(value)]
        assert await find(index, DESCRIPTION, Like(pattern), values) == expected, pattern


@pytest.mark.parametrize("seed", range(3))
async def test_a_wildcard_of_a_name_stays_within_its_group(index: Index, seed: int) -> None:
    random = Random(seed)
    alphabet = ALPHABET.replace(" ", "").replace("é", "e")  # as folding leaves it

    def group() -> str:
        return make_text(random, alphabet).rstrip("^")

    names = [(group(), group(), group()) for _ in range(300)]
    keys = ("Alphabetic", "Ideographic", "Phonetic")
    kept = [fold_person_name(dict(zip(keys, name, strict=True))) for name in names]
    for _ in range(60):
        pattern = make_text(random, f"{alphabet}*?*?").rstrip("^")
        if not pattern.strip("*"):
            continue
        one = re.compile(as_expression(pattern, "[^=]"))
        expected = [
            line
            for line, name in zip(kept, names, strict=True)
            if line and any(one.fullmatch(each) for each in name)
        ]
        assert await find(index, PATIENT_NAME, Name((pattern,)), kept) == expected, pattern
        second = make_text(random, f"{alphabet}*?").rstrip("^")
        both = re.compile(f"={as_expression(pattern, '[^=]')}=")
        other = re.compile(as_expression(second or "*", "[^=]"))
        expected = [
            line
            for line, name in zip(kept, names, strict=True)
            if line and both.match(line) and one.fullmatch(name[0]) and other.fullmatch(name[1])
        ]
        assert await find(index, PATIENT_NAME, Name((pattern, second)), kept) == expected
