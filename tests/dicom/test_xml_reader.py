"""Native DICOM Model XML as programs write it, and as no program should."""

import random
from dataclasses import replace
from typing import Any

import pytest

from app.dicom.limits import Limits
from app.dicom.xml_model import NAMESPACE, write_xml
from app.dicom.xml_reader import read_xml
from app.errors import InvalidRequest

LIMITS = Limits()


def read(inside: str, limits: Limits = LIMITS) -> dict[str, Any]:
    document = f'<NativeDicomModel xmlns="{NAMESPACE}">{inside}</NativeDicomModel>'
    return read_xml(document.encode(), limits)


def value_of(vr: str, inside: str) -> Any:
    (element,) = read(
        f'<DicomAttribute tag="00091001" vr="{vr}">{inside}</DicomAttribute>'
    ).values()
    return element.get("Value")


@pytest.mark.parametrize(
    ("vr", "inside", "values"),
    [
        ("CS", "", None),
        ("CS", "<Value number='1'>A</Value>", ["A"]),
        ("CS", "<Value>A</Value>\n <Value>B</Value>", ["A", "B"]),
        ("CS", "<Value number='2'>B</Value><Value number='1'>A</Value>", ["A", "B"]),
        ("CS", "<Value number='1'>A</Value><Value number='3'>C</Value>", ["A", None, "C"]),
        ("US", "<Value number='1'>12</Value><Value number='2'>x</Value>", [12, "x"]),
        ("UV", "<Value number='1'>18446744073709551615</Value>", [2**64 - 1]),
        ("IS", "<Value number='1'>012</Value><Value number='2'/>", [12, None]),
        ("DS", "<Value number='1'>1.50</Value><Value number='2'/>", [1.5, None]),
        ("FD", "<Value number='1'>NaN</Value><Value number='2'>-1e3</Value>", ["NaN", -1000.0]),
        ("PN", "<PersonName number='1'><Alphabetic/></PersonName>", [{"Alphabetic": ""}]),
        ("PN", "<PersonName><Ideographic><GivenName>G</GivenName></Ideographic></PersonName>",
         [{"Ideographic": "^G"}]),
        ("SQ", "<Item number='1'/>", [{}]),
    ],
)  # fmt: skip
def test_values_are_read_in_their_places(vr: str, inside: str, values: Any) -> None:
    assert value_of(vr, inside) == values


def test_text_is_kept_and_white_space_between_elements_is_not() -> None:
    assert value_of("LT", " <Value number='1'> a&amp;&lt;&#13;\n </Value>\n") == [" a&<\r\n "]


def test_binary_values_lose_their_line_breaks() -> None:
    inside = "<InlineBinary>AA\n E=</InlineBinary>"
    found = read(f'<DicomAttribute tag="7FE00010" vr="OW">{inside}</DicomAttribute>')
    assert found == {"7FE00010": {"vr": "OW", "InlineBinary": "AAE="}}
    found = read('<DicomAttribute tag="7FE00010" vr="OW"><InlineBinary/></DicomAttribute>')
    assert found == {"7FE00010": {"vr": "OW"}}


def test_a_document_without_the_namespace_is_read_too() -> None:
    document = '<NativeDicomModel><DicomAttribute tag="00080005" vr="CS"/></NativeDicomModel>'
    assert read_xml(document.encode(), LIMITS) == {"00080005": {"vr": "CS"}}
    assert read_xml(document.encode("utf-16"), LIMITS) == {"00080005": {"vr": "CS"}}


def test_a_creator_without_an_element_of_its_own_gets_the_first_free_block() -> None:
    taken = '<DicomAttribute tag="00290010" vr="LO"><Value number="1">A</Value></DicomAttribute>'
    more = '<DicomAttribute tag="00291101" vr="CS"/>'
    mine = '<DicomAttribute tag="00290010" vr="CS" privateCreator="B"/>'
    assert read(taken + more + mine) == {
        "00290010": {"vr": "LO", "Value": ["A"]},
        "00290012": {"vr": "LO", "Value": ["B"]},
        "00291101": {"vr": "CS"},
        "00291210": {"vr": "CS"},
    }


def test_more_creators_than_blocks_are_refused() -> None:
    many = "".join(
        f'<DicomAttribute tag="00290001" vr="CS" privateCreator="{number}"/>'
        for number in range(0x100 - 0x10 + 1)
    )
    with pytest.raises(InvalidRequest, match="more private creators"):
        read(many)


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "document",
    [
        f"{ENTITIES}<NativeDicomModel>&b;</NativeDicomModel>",  # Z-10
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "http://example.org/">]><NativeDicomModel/>',
        "<NativeDicomModel>&undefined;</NativeDicomModel>",
        "<NativeDicomModel>",
        "",
        "{}",
        "<NativeDicomModel/><NativeDicomModel/>",
        '<?xml version="1.0" encoding="no-such"?><NativeDicomModel/>',
        '<?xml version="1.0" encoding="shift_jis"?><NativeDicomModel/>',
        "<Other/>",
        '<NativeDicomModel xmlns="http://example.org/"/>',
        "<NativeDicomModel><Value/></NativeDicomModel>",
        "<NativeDicomModel>text</NativeDicomModel>",
        '<NativeDicomModel><DicomAttribute tag="00080005" vr="CS"/>'
        '<DicomAttribute tag="00080005" vr="CS"/></NativeDicomModel>',
    ],
)
def test_what_is_no_document_of_the_model_is_refused(document: str) -> None:
    with pytest.raises(InvalidRequest):
        read_xml(document.encode(), LIMITS)


@pytest.mark.parametrize("number", ["0", "-1", "x", "1000000000", "99999999999999999999", "²"])
def test_a_value_is_numbered_in_order(number: str) -> None:
    with pytest.raises(InvalidRequest, match="numbered from 1"):
        value_of("CS", f"<Value number='{number}'/>")


def nested(depth: int) -> dict[str, Any]:
    dataset: dict[str, Any] = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}
    for _ in range(depth):
        dataset = {"00081199": {"vr": "SQ", "Value": [dataset]}}
    return dataset


def test_depth_is_bounded() -> None:  # Z-10
    limit = LIMITS.nesting_depth
    assert read_xml(write_xml(nested(limit)), LIMITS) == nested(limit)
    with pytest.raises(InvalidRequest, match="too deep"):
        read_xml(write_xml(nested(limit + 1)), LIMITS)
    with pytest.raises(InvalidRequest, match="too deep"):
        read_xml(b"<NativeDicomModel>" + b"<DicomAttribute><Item>" * 100_000, LIMITS)


def test_the_number_of_elements_is_bounded() -> None:
    few = replace(LIMITS, elements=4)
    assert read("<DicomAttribute tag='00080005' vr='CS'><Value/><Value/></DicomAttribute>", few)
    with pytest.raises(InvalidRequest, match="too many"):
        read(
            "<DicomAttribute tag='00080005' vr='CS'><Value/><Value/><Value/></DicomAttribute>", few
        )


def test_no_bytes_are_anything_but_read_or_refused() -> None:
    generator = random.Random(19)
    document = bytearray(write_xml(nested(3)))
    for _ in range(500):
        broken = bytearray(document)
        for _ in range(generator.randrange(1, 4)):
            broken[generator.randrange(len(broken))] = generator.randrange(256)
        try:
            assert isinstance(read_xml(bytes(broken), LIMITS), dict)
        except InvalidRequest:
            continue


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (b"<NativeDicomModel>\n  <DicomAttribute></NativeDicomModel>", "line 2, column 21"),
        (b"<NativeDicomModel>\n <Other></Other></NativeDicomModel>", "line 2, column 9"),
        (b"", "line 1, column 1"),
    ],
)
def test_a_fault_has_its_place(document: bytes, place: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"\({place}\)$"):
        read_xml(document, Limits())
