"""Elements as DICOM JSON: held to pydicom value by value, and each exception with its reason."""

import json
import warnings
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from app.dicom.charsets import DEFAULT, encodings_of
from app.dicom.json_model import (
    bulk_member,
    empty_member,
    encode_member,
    join_members,
    sequence_member,
)

TAG = 0x00091010
"""Of no meaning to the encoder."""


def ours(vr: str, raw: bytes, charset: bytes = b"", tag: int = TAG, *, little: bool = True) -> Any:
    """Return the element as our JSON has it."""
    encodings = encodings_of(charset) if charset else DEFAULT
    member = encode_member(tag, vr, raw, little, encodings)
    found: dict[str, Any] = json.loads(b"{" + member + b"}", parse_constant=pytest.fail)
    return found[f"{tag:08X}"]


def pydicoms(
    vr: str, raw: bytes, charset: bytes = b"", tag: int = TAG, *, little: bool = True
) -> Any:
    """Return the element as pydicom's JSON has it, or the type of what it raises."""
    dataset = Dataset()
    if charset:
        dataset.SpecificCharacterSet = charset.decode().split("\\")
    element = RawDataElement(BaseTag(tag), vr, len(raw), raw, 0, False, little)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset._dict[BaseTag(tag)] = element
        dataset.set_original_encoding(False, little, list(encodings_of(charset)))
        try:
            return dataset[tag].to_json_dict(None, 1024)
        except Exception as error:
            return type(error)


SAME = [
    ("AE", b" STORE \\ECHO  "), ("AE", b"A  "), ("AE", b"   "), ("AS", b"030Y"),
    ("AT", b"\x10\x00\x20\x00"), ("AT", b"\x10\x00\x20\x00\x08\x00\x18\x00"), ("AT", b"\x10\x00"),
    ("CS", b"ORIGINAL\\PRIMARY "), ("CS", b"A \\B"), ("CS", b"\0"),
    ("DA", b"20240131"), ("DA", b"20240131\\20240201"), ("DT", b"20240131120000.5+0100 "),
    ("TM", b"120000.123 "), ("TM", b"12:00:00"),
    ("DS", b"1.50"), ("DS", b" -1e3 \\2 "), ("DS", b"  "), ("DS", b"0"), ("DS", b"-0.0"),
    ("DS", b"1.7976931348623157e308"),
    ("IS", b"12"), ("IS", b"+7 \\-3"), ("IS", b"1.0"), ("IS", b" "), ("IS", b"007"),
    ("FL", b"\0\0\xc0\x3f"), ("FD", b"\0\0\0\0\0\0\xf8\x3f" * 2),
    ("LO", b"one\\two "), ("LO", b" lead"), ("LO", b"nul\0"), ("SH", b"a\nb\tc"), ("UC", b"x\\y"),
    ("LT", b" a\\b "), ("ST", b"c\\d\r\n"), ("UT", b"e\\f "), ("UR", b"http://h/a\\b  "),
    ("OB", b"\1\2"), ("OW", b"\1\2"), ("OF", b"\0\0\0\0"), ("OD", b"\0" * 8), ("OL", b"\0" * 4),
    ("OV", b"\0" * 8), ("UN", b"any"), ("OB", b""), ("UN", b""),
    ("PN", b"Doe^John"), ("PN", b"Doe^John=\xe6"), ("PN", b"A\\B^C "), ("PN", b" "),
    ("PN", b"a=b=c=d"),
    ("SL", b"\xff\xff\xff\xff"), ("SS", b"\xff\xff\1\0"), ("SV", b"\xff" * 8), ("UV", b"\xff" * 8),
    ("UL", b"\xff\xff\xff\xff"), ("US", b"\xff\xff"), ("US", b"\1\0\2\0"), ("US", b""),
    ("UI", b"1.2.3\0"), ("UI", b"1.2.3\\4.5 "), ("UI", b""), ("LO", b""), ("PN", b""), ("DS", b""),
]  # fmt: skip


@pytest.mark.parametrize(("vr", "raw"), SAME)
def test_a_value_is_pydicoms(vr: str, raw: bytes) -> None:  # J-11, J-12, J-14, J-16, J-20..J-22
    assert ours(vr, raw) == pydicoms(vr, raw)


@pytest.mark.parametrize(
    ("vr", "raw"),
    [("US", b"\1\2"), ("SS", b"\xff\xfe"), ("UL", b"\1\2\3\4"), ("FL", b"\x3f\xc0\0\0"),
     ("FD", b"\x3f\xf8" + bytes(6)), ("AT", b"\0\x10\0\x20"), ("SV", b"\1" + bytes(7))],
)  # fmt: skip
def test_big_endian_numbers_are_pydicoms(vr: str, raw: bytes) -> None:
    assert ours(vr, raw, little=False) == pydicoms(vr, raw, little=False)


EXCEPTIONS = [
    # an empty value among several is null (J-09); pydicom gives "" or raises
    ("CS", b"A\\\\B", ["A", None, "B"]),
    ("LO", b"\\", [None, None]),
    ("UI", b"1.2\\", ["1.2", None]),
    ("DS", b"1\\\\3", [1.0, None, 3.0]),
    ("IS", b"\\2", [None, 2]),
    ("PN", b"A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
    # only groups of a name that are not empty (J-10); pydicom gives ""
    ("PN", b"=I", [{"Ideographic": "I"}]),
    ("PN", b"A==P", [{"Alphabetic": "A", "Phonetic": "P"}]),
    # what is no number stays as text; pydicom raises
    ("DS", b"1.2.3 ", ["1.2.3"]),
    ("DS", b"1\\abc\\3", [1.0, "abc", 3.0]),
    ("IS", b"1A", ["1A"]),
    ("IS", b"1e400", ["1e400"]),
    ("IS", b"1\\\xb2", [1, "\xb2"]),
    # Python's own ways to write a number are none of DICOM's; pydicom takes them
    ("DS", b"1_0", ["1_0"]),
    ("IS", b"1_0", ["1_0"]),
    # a fraction is not cut off; pydicom gives 1
    ("IS", b"1.5", ["1.5"]),
    # more than 64 bits is no JSON number that others read (J-12); pydicom gives one
    ("IS", b"9223372036854775808", ["9223372036854775808"]),
    # JSON has no NaN and no infinity (J-13); pydicom writes them bare
    ("DS", b"NaN\\inf", ["NaN", "inf"]),
    ("FL", b"\0\0\xc0\x7f\0\0\x80\x7f\0\0\x80\xff", ["NaN", "Infinity", "-Infinity"]),
    ("FD", b"\0\0\0\0\0\0\xf8\x7f", ["NaN"]),
]  # fmt: skip


@pytest.mark.parametrize(("vr", "raw", "values"), EXCEPTIONS)
def test_a_value_differs_from_pydicoms_for_a_reason(vr: str, raw: bytes, values: Any) -> None:
    assert ours(vr, raw) == {"vr": vr, "Value": values}
    assert repr(pydicoms(vr, raw)) != repr(ours(vr, raw))


@pytest.mark.parametrize(("vr", "raw"), [("US", b"\1"), ("FD", b"\0" * 9), ("SV", b"\0" * 4)])
def test_a_number_of_a_wrong_length_is_unknown_and_whole(vr: str, raw: bytes) -> None:
    """pydicom raises; with `convert_wrong_length_to_UN` it does the same."""
    assert ours(vr, raw)["vr"] == "UN"
    assert ours(vr, raw) == pydicoms("UN", raw)
    assert isinstance(pydicoms(vr, raw), type)


@pytest.mark.parametrize(
    ("declared", "member"),
    [(b"ISO_IR 100", {"vr": "CS", "Value": ["ISO_IR 192"]}),
     (b"\\ISO 2022 IR 87", {"vr": "CS", "Value": ["ISO_IR 192"]}),
     (b"ISO_IR 6", {"vr": "CS", "Value": ["ISO_IR 192"]}),
     (b"ISO_IR 192", {"vr": "CS", "Value": ["ISO_IR 192"]}), (b"", {"vr": "CS"}),
     (b"  ", {"vr": "CS"})],
)  # fmt: skip
def test_the_character_set_is_the_one_delivered(declared: bytes, member: Any) -> None:  # J-31
    assert ours("CS", declared, tag=0x00080005) == member


@pytest.mark.parametrize(
    ("tag", "raw", "first"),
    [(0x00283002, b"\0\x80\0\0\x10\0", 32768), (0x00281101, b"\xff\xff\0\0\x08\0", 65535),
     (0x00280106, b"\xff\xff\0\0", -1), (0x00283002, b"\xff\xff", -1)],
)  # fmt: skip
def test_the_entries_of_a_lut_are_never_negative(tag: int, raw: bytes, first: int) -> None:
    assert ours("SS", raw, tag=tag)["Value"][0] == first
    assert ours("SS", raw, tag=tag) == pydicoms("SS", raw, tag=tag)


CHARSETS = [
    (b"ISO_IR 100", "PN", "Buc^Jérôme".encode("latin-1")),
    (b"ISO_IR 101", "LO", "Wałęsa".encode("iso8859_2")),
    (b"ISO_IR 144", "PN", "Люкceмбypг".encode("iso8859_5")),
    (b"ISO_IR 192", "PN", "Wang^XiaoDong=王^小东".encode()),
    (b"ISO_IR 13", "PN", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    (b"GB18030", "LO", "王小东\\丂".encode("gb18030")),  # the second byte of 丂 is no delimiter
    (b"GBK", "SH", "誠\\信".encode("gbk")),
    (b"\\ISO 2022 IR 87", "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        "PN",
        b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
    ),
    (b"\\ISO 2022 IR 149", "PN", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    (b"\\ISO 2022 IR 58", "PN", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"),
    (b"\\ISO 2022 IR 159", "LO", b"\x1b$(D\x30\x21\x1b(B"),
    (b"ISO 2022 IR 100\\ISO 2022 IR 144", "LT", b"caf\xe9\r\n\x1b-L\xb4\xd0\r\n\xe9"),
    (b"\\ISO 2022 IR 149", "LO", b"\x1b$)C\xb1\xe8\\\x1b$)C\xc8\xf1"),
]


@pytest.mark.parametrize(("charset", "vr", "raw"), CHARSETS)
def test_text_of_every_character_set_is_pydicoms(charset: bytes, vr: str, raw: bytes) -> None:
    assert ours(vr, raw, charset) == pydicoms(vr, raw, charset)  # J-18, I-06
    assert "\ufffd" not in json.dumps(ours(vr, raw, charset), ensure_ascii=False)


@pytest.mark.parametrize(
    ("charset", "raw"),
    [(b"ISO_IR 192", b"M\xfcller"), (b"GB18030", b"\xff\xff"), (b"ISO_IR 13", b"\xff\xfe"),
     (b"ISO_IR 192\\ISO 2022 IR 87", b"\x1b$B\xff"), (b"\\ISO 2022 IR 87", b"\x1b$B\xff"),
     (b"\\ISO 2022 IR 149", b"\x1b$)C\xff\xff"), (b"ISO_IR 192", b"\xe9\x1b-L\xff")],
)  # fmt: skip
def test_bytes_that_do_not_decode_are_visible(charset: bytes, raw: bytes) -> None:  # J-27
    assert {"\ufffd", "\x1b"} & set(ours("LO", raw, charset)["Value"][0])
    assert ours("LO", raw, charset) == pydicoms("LO", raw, charset)


def test_control_characters_are_escaped() -> None:  # J-25
    member = encode_member(TAG, "LT", b'"\x01\x1f\x7f\\', True, DEFAULT)
    assert member == b'"00091010":{"vr":"LT","Value":["\\"\\u0001\\u001f\x7f\\\\"]}'


def test_no_text_can_look_like_bulk_data() -> None:
    member = encode_member(TAG, "LT", b'"BulkDataURI":"bulkdata/7FE00010"', True, DEFAULT)
    assert b'"BulkDataURI":"bulkdata/' not in member


def test_members_that_hold_no_value_of_their_own() -> None:  # J-08, J-15
    assert empty_member(0x00100010, "PN") == b'"00100010":{"vr":"PN"}'
    assert bulk_member(0x7FE00010, "OW", "7FE00010").endswith(b'"BulkDataURI":"bulkdata/7FE00010"}')
    assert sequence_member(0x00081140, []) == b'"00081140":{"vr":"SQ"}'
    assert sequence_member(0x00081140, [b"{}"]) == b'"00081140":{"vr":"SQ","Value":[{}]}'


def test_members_are_joined_in_ascending_order() -> None:  # J-02
    assert join_members({2: b"b", 1: b"a"}) == b"{a,b}"


@given(
    vr=st.sampled_from(sorted({vr for vr, _ in SAME})),
    raw=st.binary(max_size=40),
    charset=st.sampled_from([b"", *(charset for charset, _, _ in CHARSETS)]),
    little=st.booleans(),
)  # fmt: skip
def test_any_bytes_become_json(vr: str, raw: bytes, charset: bytes, little: bool) -> None:
    found = ours(vr, raw, charset, little=little)
    assert found["vr"] in {vr, "UN"}
    json.dumps(found, ensure_ascii=False).encode()  # no lone surrogates


@given(
    vr=st.sampled_from(["LO", "SH", "UC", "LT", "ST", "UT"]),
    raw=st.lists(
        st.sampled_from([b"\x1b$B", b"\x1b(B", b"\x1b(J", b"\x1b)I", b"\x1b$)C", b"\x1b-L", b"\x1b",
                         b"\x1b$(D", b"\x1b$)A", b"\x1b-A", b"A", b"^", b"\r\n", b"\x30\x21",
                         b"\xb1\xe8"])
    ).map(b"".join),
    charset=st.sampled_from([charset for charset, _, _ in CHARSETS]),
)  # fmt: skip
def test_any_code_extension_is_pydicoms(vr: str, raw: bytes, charset: bytes) -> None:
    expected = pydicoms(vr, raw, charset)
    found = ours(vr, raw, charset)
    assert found.get("Value") == expected.get("Value")


@pytest.mark.parametrize(
    ("vr", "big", "little"),
    [
        ("OW", b"\0\1\0\2", b"\1\0\2\0"),
        ("OF", b"\0\0\0\1", b"\1\0\0\0"),
        ("OL", b"\0\0\0\1\xff", b"\1\0\0\0\xff"),
        ("OD", b"\0\0\0\0\0\0\0\1", b"\1\0\0\0\0\0\0\0"),
        ("OV", b"\0\0\0\0\0\0\0\1", b"\1\0\0\0\0\0\0\0"),
        ("OB", b"\0\1", b"\0\1"),
        ("UN", b"\0\1", b"\0\1"),
    ],
)
def test_words_in_the_metadata_are_little_endian(vr: str, big: bytes, little: bytes) -> None:
    """pydicom leaves them as they are; a reader of JSON cannot know what they were."""
    member = encode_member(0x00281201, vr, big, False, ("iso8859",))  # J-16
    document = json.loads(b"{%b}" % member)
    assert document["00281201"]["InlineBinary"] == b64encode(little).decode()
