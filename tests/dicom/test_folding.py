"""Text as it is compared."""

import pytest

from app.dicom.folding import (
    LONGEST,
    LONGEST_GROUP,
    clean_date,
    clean_integer,
    clean_text,
    clean_time,
    fold_name_groups,
    fold_person_name,
    fold_text,
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("", ""),
        ("SMITH", "smith"),
        ("  Two   Words ", "two words"),
        ("Müller", "muller"),
        ("Mu\u0308ller", "muller"),
        ("Straße", "strasse"),
        ("Łódź", "lodz"),
        ("Søren", "soren"),
        ("Ærø", "aero"),
        ("İzmir", "izmir"),
        ("Ñandú", "nandu"),
        ("ＹＡＭＡＤＡ", "yamada"),  # full width
        ("ﾔﾏﾀﾞ", "ヤマダ"),  # half width
        ("やまだ", "やまだ"),  # a voicing mark makes another letter
        ("ガ", "ガ"),
        ("홍길동", "홍길동"),
        ("Люкceмбypг", "люкceмбypг"),
        ("Ψυχή", "ψυχη"),
        ("A\0B\tC\r\nD", "ab c d"),
    ],
)
def test_text_is_folded(text: str, folded: str) -> None:
    assert fold_text(text) == folded


@pytest.mark.parametrize("text", ["Müller", "Straße", "ﾔﾏﾀﾞ", "İI", "ὈΔΥΣΣΕΎΣ", "Å"])
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold_text(fold_text(text)) == fold_text(text)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("SMITH^John^^^", ["smith^john"]),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["yamada^tarou", "山田^太郎", "やまだ^たろう"]),
        ("Smith^John==", ["smith^john"]),
        ("=山田", ["", "山田"]),
        ("==やまだ^", ["", "", "やまだ"]),
        ("^^^", [""]),
        ("", [""]),
        (" Smith  ^ John ", ["smith^john"]),
        ("a=b=c=d", ["a", "b", "c d"]),
        ("a＝b", ["a b"]),  # a full-width mark is no delimiter
    ],
)
def test_names_fall_into_groups_without_trailing_delimiters(name: str, groups: list[str]) -> None:
    assert fold_name_groups(name) == groups


def test_a_stored_name_is_one_line_with_a_mark_at_both_ends_of_each_group() -> None:
    value = {"Alphabetic": "Yamada^Tarou^", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert fold_person_name(value) == "=yamada^tarou=山田^太郎=やまだ^たろう="


@pytest.mark.parametrize("value", [{}, {"Alphabetic": ""}, {"Alphabetic": "^^"}])
def test_a_name_without_components_is_no_name(value: dict[str, str]) -> None:
    assert fold_person_name(value) == ""


def test_an_endless_name_is_cut() -> None:
    assert len(fold_person_name({"Alphabetic": "x" * 10_000})) == LONGEST_GROUP + 4


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A1  ", "A1"),
        ("A1\0", "A1"),
        ("A\0B", "AB"),
        ("Ab c", "Ab c"),
        ("x" * 300, "x" * LONGEST),
    ],
)
def test_text_where_case_counts_is_only_cleaned(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("20240229", "20240229"),
        ("2001.02.03", "20010203"),
        (" 20240229 ", "20240229"),
        ("20230229", ""),  # no such day
        ("20241301", ""),
        ("20240100", ""),
        ("00000101", ""),
        ("2024", ""),
        ("202402", ""),
        ("20240229x", ""),
        ("2024-02-29", ""),
        ("２０２４０２２９", ""),
        ("", ""),
    ],
)
def test_dates_are_eight_digits_or_nothing(text: str, date: str) -> None:
    assert clean_date(text) == date


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("101530", "101530"),
        ("10", "100000"),
        ("1015", "101500"),
        ("10:15:30", "101530"),
        ("10:15", "101500"),
        ("101530.25", "101530.25"),
        ("101530.250000", "101530.25"),
        ("101530.0", "101530"),
        ("101530.1234567", "101530.123456"),
        ("235960", "235959"),  # a leap second
        ("240000", ""),
        ("106000", ""),
        ("101561", ""),
        ("1", ""),
        ("101", ""),
        ("10.5", ""),
        ("101530.", "101530"),
        ("1015x0", ""),
        ("１０", ""),
        ("", ""),
    ],
)
def test_times_are_six_digits_and_a_fraction_or_nothing(text: str, time: str) -> None:
    assert clean_time(text) == time


@pytest.mark.parametrize(
    ("value", "bits", "number"),
    [
        (7, 64, 7),
        ("007", 64, 7),
        ("-3", 64, -3),
        (" 5 ", 64, 5),
        (1.0, 64, 1),
        ("x", 64, None),
        ("", 64, None),
        (2**63, 64, None),
        (-(2**63), 64, -(2**63)),
        (2**31, 32, None),
        (float("inf"), 64, None),
        (float("nan"), 64, None),
        ("9" * 5000, 64, None),
        ({"not": "a number"}, 64, None),
    ],
)
def test_numbers_that_the_index_cannot_hold_are_none(
    value: object, bits: int, number: int | None
) -> None:
    assert clean_integer(value, bits) == number
