"""The one name of an attribute that an operator chooses."""

import pytest

from app.dicom.chosen_attributes import name_of, read_chosen
from app.dicom.matching import parse_path
from app.errors import InvalidQuery


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        ("SliceThickness", "00180050", "SliceThickness"),
        ("00180050", "00180050", "SliceThickness"),
        (
            "ViewCodeSequence.00080100",
            "00540220.00080100",
            "ViewCodeSequence.CodeValue",
        ),
        ("00090010=ACME&00091001", "00090010=ACME&00091001", "00090010=ACME&00091001"),
        ("000900E3=ACME&0009E301", "00090010=ACME&00091001", "00090010=ACME&00091001"),
        (
            "00090010=A%26B&00090011=C D&00091101.00091001",
            "00090010=C D&00090011=A%26B&00091001.00091101",
            "00090010=C D&00090011=A%26B&00091001.00091101",
        ),
        ("00090010=ACME&00110011=X&00091001", "00090010=ACME&00091001", None),
        ("00091001", "00091001", "00091001"),
        ("00090010", "00090010", "00090010"),
    ],
)
def test_an_attribute_has_one_name_however_it_is_written(
    text: str, name: str, shown: str | None
) -> None:
    chosen = read_chosen(text)
    assert chosen.name == name
    assert chosen.shown == (shown or name)
    assert read_chosen(chosen.name) == chosen
    assert read_chosen(chosen.shown) == chosen


def test_a_search_finds_the_name_by_blocks_of_its_own() -> None:
    path = parse_path("00091201")
    assert path is not None
    assert name_of(path, {0x00090012: "ACME"}) == "00090010=ACME&00091001"
    assert name_of(path, {0x00090013: "ACME"}) == "00091201"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SliceThicknes", "no keyword or tag"),
        ("PatientName", "in the index already"),
        ("RequestAttributesSequence.RequestedProcedureID", "in the index already"),
        ("PixelData", "its VR is OW"),
        ("ViewCodeSequence", "its VR is SQ"),
        ("RetrieveURL", "no object that is stored has it"),
        ("00020010", "no object that is stored has it"),
        ("00090010&00091001", "does not say who reserved"),
        ("SliceThickness=1&00091001", "does not say who reserved"),
    ],
)
def test_what_cannot_be_indexed_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidQuery, match=why):
        read_chosen(text)
