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
        ("DS", [-0.12345678901234], b"-.12345678901234"),
        ("DS", [-0.1234567890123], b"-0.1234567890123"),
        ("DS", [1.23456789012e-05], b"1.23456789012e-5"),
        ("DS", [0.00012345678901], b"0.00012345678901"),
        ("DS", [0.000123456789012], b".000123456789012"),
        ("DS", [0.000000123456789012], b"1.23456789012e-7"),
        ("DS", [-0.0000123456789], b"-1.23456789e-05"),
        ("DS", [-0.00012345678901], b"-.00012345678901"),
        ("DS", [-1.2345678901e-10], b"-1.2345678901e-10"[:0] + b"-12345678901e-20"),
        ("DS", [123456789012345.0], b"123456789012345"),
        ("DS", [1e22, "", " 1.5 "], b"1e+22\\\\1.5"),
        ("IS", [-(2**31), 2**31 - 1, "", "+5"], b"-2147483648\\2147483647\\\\+5"),
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
        ("DS", [-0.12345678901234567]),
        ("DS", [10**16 + 1]),
        ("DS", ["-0.12345678901234567"]),
        ("IS", [1.5]),
        ("IS", ["1.5"]),
        ("IS", ["many"]),
        ("IS", [2**31]),
        ("IS", [-(2**31) - 1]),
        ("IS", ["2147483648"]),
        ("IS", [10**30]),
        ("IS", [1e30]),
        ("IS", [10**4000]),
        ("IS", [True]),
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
