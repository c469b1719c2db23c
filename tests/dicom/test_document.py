"""DICOM JSON as typed values, however odd it is."""

import base64

import pytest

from app.dicom.document import Document


def test_numbers_are_finite_ones_whatever_they_are_written_as() -> None:
    document = Document({"00281050": {"vr": "DS", "Value": ["40", None, 1.5, "x", "NaN", {}]}})
    assert document.numbers("00281050") == [40.0, 1.5]
    assert document.number("00281050") == 40
    assert document.integer("00281050", 7) == 40
    assert document.integer("00281051", 7) == 7
    assert document.number("00281051") is None


def test_texts_come_without_blanks_and_names_with_their_groups() -> None:
    name = {"Alphabetic": "A^B", "Phonetic": "C"}
    document = Document({"00100010": {"vr": "PN", "Value": [name]}, "00100020": {"Value": [" 7 "]}})
    assert document.text("00100010") == "A^B==C"
    assert document.text("00100020") == "7"
    assert document.text("00100030") == ""
    assert (document.vr("00100010"), document.vr("00100030")) == ("PN", "")


def test_items_know_where_their_bulk_values_are() -> None:
    members = {"00283000": {"vr": "SQ", "Value": [{"00283003": {"Value": ["a"]}}, {}, 5]}}
    document = Document(members, {"00283000/2/00283006": b"\1\0\2\0"})
    first, second = document.items("00283000")
    assert first.text("00283003") == "a"
    assert second.octets("00283006") == b"\1\0\2\0"
    assert document.item("00283000", 2).words("00283006").tolist() == [1, 2]
    assert document.item("00283000", 3).members == {}
    assert document.item("00409999").members == {}


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "US", "Value": [1, 65535]},
        {"vr": "SS", "Value": [1, -1]},
        {"vr": "OW", "InlineBinary": base64.b64encode(b"\1\0\xff\xff").decode()},
        {"vr": "OW", "InlineBinary": base64.b64encode(b"\1\0\xff\xff\7").decode()},
    ],
)
def test_words_are_binary_or_numbers(element: dict[str, object]) -> None:
    assert Document({"00283006": element}).words("00283006").tolist() == [1, 65535]


def test_an_element_that_is_no_object_has_nothing() -> None:
    document = Document({"00100020": "x"})
    assert (document.values("00100020"), document.items("00100020")) == ([], [])
    assert (document.octets("00100020"), document.vr("00100020")) == (b"", "")
