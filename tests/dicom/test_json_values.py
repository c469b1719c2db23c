"""Values of DICOM JSON as bytes, and what no value is."""

from typing import Any

import pytest

from app.dicom.json_values import decode_inline, encode_values
from app.errors import InvalidDataset

TAG = "00091001"


@pytest.mark.parametrize(
    ("vr", "values", "raw"),
    [
        ("CS", ["A", None, "C"], b"A\\\\C"),
        ("CS", [None], b""),
        ("LO", ["é"], b"\xc3\xa9"),
        ("CS", ["é"], b"\xe9 "),
        ("UI", ["1.2"], b"1.2\0"),
        ("LT", ["a\\b"], b"a\\b "),
        ("UT", [], b""),
        ("PN", [{"Alphabetic": "A^B", "Phonetic": "C"}], b"A^B==C"),
        ("PN", [{"Alphabetic": "A"}, None, "D^E"], b"A\\\\D^E"),
        ("DS", [1, 1.5, "2.50", None], b"1\\1.5\\2.50\\"),
        ("DS", [-0.12345678901234567], b"-0.1234567890123"[:16]),
        ("IS", [7, 8.0, "09"], b"7\\8\\09"),
        ("AT", ["00100020", "7fe00010"], b"\x10\0\x20\0\xe0\x7f\x10\0"),
        ("US", [1, 65535], b"\1\0\xff\xff"),
        ("UV", ["18446744073709551615"], b"\xff" * 8),
        ("SV", ["-1"], b"\xff" * 8),
        ("FL", [1.0], b"\0\0\x80?"),
        ("FD", ["Infinity"], b"\0\0\0\0\0\0\xf0\x7f"),
        ("SS", [], b""),
    ],
)
def test_a_value_becomes_its_bytes(vr: str, values: Any, raw: bytes) -> None:
    made = encode_values(TAG, vr, values)
    assert made == raw + b" " * (len(raw) % 2)


def test_the_entries_of_a_lut_are_written_as_they_fit() -> None:
    assert encode_values("00281101", "SS", [65520, 0, 16]) == b"\xf0\xff\0\0\x10\0"


@pytest.mark.parametrize(
    ("vr", "values"),
    [
        ("CS", "A"),
        ("CS", [1]),
        ("CS", ["a\\b"]),
        ("CS", ["山"]),
        ("LT", ["a", "b"]),
        ("PN", [1]),
        ("PN", [{"Alphabetic": 1}]),
        ("DS", [True]),
        ("IS", [1.5]),
        ("IS", [[]]),
        ("AT", [1048608]),
        ("AT", ["0010"]),
        ("US", [-1]),
        ("US", [65536]),
        ("US", [1.5]),
        ("US", ["x"]),
        ("US", [None]),
        ("US", [False]),
        ("UL", [1e300]),
        ("FL", [1e300]),
        ("FD", ["x"]),
        ("FD", [{}]),
        ("FD", [10**400]),
        ("OB", ["AAA="]),
    ],
)
def test_what_no_value_is_is_refused(vr: str, values: Any) -> None:  # Z-11
    with pytest.raises(InvalidDataset, match=TAG):
        encode_values(TAG, vr, values)


def test_binary_values_are_base64() -> None:
    assert decode_inline(TAG, "OB", "AAE\n=") == b"\0\1"
    assert decode_inline(TAG, "OB", "AA==") == b"\0\0"
    for bad in ("A", "*" * 4, 1, None):
        with pytest.raises(InvalidDataset, match="no base64"):
            decode_inline(TAG, "OB", bad)
