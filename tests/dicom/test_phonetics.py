"""How names sound."""

import pytest

from app.dicom.phonetics import sounds


@pytest.mark.parametrize(
    ("word", "codes"),
    [
        ("schmidt", ("463000",)),
        ("smith", ("463000",)),
        ("smythe", ("463000",)),
        ("conti", ("4n3000", "5n3000")),
        ("catherine", ("439n00", "539n00")),
        ("katharina", ("539n00",)),
        ("muller", ("689000",)),
        ("mueller", ("689000",)),
        ("meyer", ("619000",)),
        ("maier", ("619000",)),
        ("moskowitz", ("645740",)),
        ("peters", ("734000", "739400")),
        ("anna", ("0n0000",)),
        ("emma", ("060000",)),
        ("hamner", ("56n900",)),
        ("xerxes", ("595440",)),
        ("jung", ("1n5000", "4n5000")),
        ("a", ("000000",)),
        ("4711", ()),
        ("иванов", ()),
        ("", ()),
    ],
)
def test_a_word_has_a_code_for_each_way_to_read_it(word: str, codes: tuple[str, ...]) -> None:
    assert sounds(word) == codes


@pytest.mark.parametrize(
    ("one", "other"),
    [("Schmidt", "Smith"), ("Goethe", "Gothe"), ("Kowalski", "Kovalsky"), ("Stephan", "Stefan")],
)
def test_words_that_sound_alike_have_a_code_in_common(one: str, other: str) -> None:
    assert set(sounds(one.lower())) & set(sounds(other.lower()))


def test_however_many_ways_there_are_the_codes_stay_few() -> None:
    assert len(sounds("cj" * 64)) <= 3 * 2**6
