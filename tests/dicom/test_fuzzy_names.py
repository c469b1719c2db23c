"""Names that are nearly the same."""

import pytest

from app.dicom.folding import LONGEST_GROUP, fold_name_groups, fold_person_name
from app.dicom.fuzzy_names import is_near, name_keys, name_parts
from tests.cost import costs_at_most


def near(stored: str, asked: str) -> bool:
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), stored.split("="), strict=False))
    return is_near(fold_person_name(groups), name_parts(fold_name_groups(asked)))


JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("Müller^Änne", "müller"),
        ("Müller^Änne", "MULLER^ANNE"),
        ("Müller^Änne", "Mueller"),
        ("Müller^Änne", "Änne Müller"),  # in any order
        ("Müller^Änne", "Anne^Muller"),
        ("Müller^Änne", "Müller, Änne"),
        ("Müller^Änne", "mül"),  # beginnings
        ("Müller^Änne", "m"),
        ("Müller^Änne", "mü^ä"),
        ("Müller-Lüdenscheidt^Anna", "Ludenscheid"),
        ("Smith^John", "Smiht"),  # two letters changed places
        ("Smith^John", "Smtih"),
        ("Smith^John", "Smit"),  # one is missing
        ("Smith^John", "Smmith"),  # one too many
        ("Smith^John", "Snith"),  # another one
        ("Smith^John", "Schmidt^Jon"),  # sounds
        ("Kowalski^Jan", "Kovalsky"),
        ("Catherine^Anne", "Katharina"),
        ("Papadopoulos^Georgios", "Papadopulos"),
        ("Иванов^Иван", "Иван"),
        ("Иванов^Иван", "Иваноф"),  # slips need no table of sounds
        ("O'Brien^Pat", "OBrien"),
        ("OBrien^Pat", "O'Brien"),
        ("De Vries^Jan", "devries"),
        ("MacDonald^Ian", "Mac Donald"),
        ("Smith^John", "sm?th"),  # wildcards within a word
        ("Smith^John", "*smi*"),
        ("Smith^John", "s*th^j*n"),
        (JAPANESE, "山田"),
        (JAPANESE, "太郎"),
        (JAPANESE, "郎"),
        (JAPANESE, "山田太郎"),
        (JAPANESE, "太郎^山田"),
        (JAPANESE, "ヤマダ"),
        (JAPANESE, "ﾔﾏﾀﾞ"),
        (JAPANESE, "やま"),
        (JAPANESE, "Tarou Yamada"),
        (JAPANESE, "Taro^Yamada=山田"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "홍길동"),
        ("Tanaka=田中=タナカ", "たなか"),
    ],
)
def test_a_name_is_found_by_what_is_nearly_it(stored: str, asked: str) -> None:
    assert near(stored, asked)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("Smith^John", "Jones"),
        ("Smith^John", "Smith^Mary"),  # each word has to be there
        ("Smith^John", "mith^ohn^x"),
        ("Smith^John", "Conti"),
        ("Meyer^Anna", "Emma"),
        ("Meyer^Otto", "Ida"),  # sounds begin with the same vowel
        ("Mao^Li", "Lou"),  # one sound is none
        ("Rose^Mary", "Rome"),  # short words take no slips
        ("Anderson^Ann", "Pedersen"),
        ("Smith^John", "th"),
        ("Smith^John", "x*h"),
        (JAPANESE, "山本"),
        (JAPANESE, "大田"),
        ("", "Smith"),
    ],
)
def test_another_name_is_not_found(stored: str, asked: str) -> None:
    assert not near(stored, asked)


def test_what_has_no_word_asks_for_nothing() -> None:
    assert name_parts(["*^*", "", "?-?"]) == ()


@pytest.mark.parametrize("sign", list("\\.[](){}|+$%_#~<>@!"))
def test_signs_are_themselves(sign: str) -> None:
    assert near(f"Abc{sign}def^X", f"abc{sign}def")
    assert not near("Abcdef^X", f"xyz{sign}def")


def test_keys_are_ascending_numbers_of_32_bits() -> None:
    keys = name_keys("=van der berg^jan hendrik===")
    assert list(keys) == sorted(set(keys))
    assert all(-(2**31) <= key < 2**31 for key in keys)
    assert name_keys("") == ()
    assert name_keys("==山田^太郎==") == ()


def test_an_endless_name_has_not_endlessly_many_keys() -> None:
    for word in ("aaaaa", "cjcj", "ab", "x", "a" * LONGEST_GROUP, "cj" * LONGEST_GROUP):
        groups = [
            " ".join(f"{chr(ord('a') + place)}{number:x}{word}" for number in range(64))
            for place in range(3)
        ]
        names = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=True))
        assert len(name_keys(fold_person_name(names))) <= 3000


def test_no_pattern_takes_long() -> None:  # Z-08
    with costs_at_most(1):
        assert not near("a" * LONGEST_GROUP, "a*" * 50 + "b")
        assert not near("a" * LONGEST_GROUP, "a?" * 50 + "b")
