"""DICOM JSON as it comes: whole numbers stay whole, nothing stands twice, faults have a place."""

import pytest

from app.dicom.json_documents import read_json
from app.errors import InvalidRequest


def test_numbers_are_what_they_were() -> None:
    assert read_json(b'{"a": [1000000000000000000000000000001, 0.1, -7]}') == {
        "a": [10**30 + 1, 0.1, -7]
    }


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"{", r"\(line 1, column 2\)"),
        (b'[{"00100010":\n  {"vr" "PN"}}]', r"\(line 2, column 9\)"),
        (b"[NaN]", r"\(line 1, column 2\)"),
        (b"[" * 100_000, r"\(line 1, column"),
        (b"[1e99999999]" + b" x", "line 1"),
        (b"[1" + b"0" * 5000 + b"]", r"\(line 1, column 2\)"),
        (b"[" * 1020 + b"]" * 1020, "nested too deep"),
        (b'["\\ud800"]', "line 1"),
        (b"\xff\xfe[]", "line 1"),
        (b"\xed\xa0\x80", "line 1"),
        (b'{"0008001A": {}, "0008001A": {}}', "0008001A stands twice in one object"),
        (b'[{"00100010": {"Value": [{"Alphabetic": "A", "Alphabetic": "B"}]}}]', "Alphabetic st"),
        (b'{"Doe^John": 1, "Doe^John": 2}', "a name stands twice"),
    ],
)
def test_what_is_no_json_is_refused_at_its_place_and_not_quoted(  # Z-11
    document: bytes, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        read_json(document)
    assert "Doe" not in str(refused.value)


def test_the_same_name_in_different_objects_is_fine() -> None:
    assert read_json(b'[{"a": {"a": 1}}, {"a": 2}]') == [{"a": {"a": 1}}, {"a": 2}]
