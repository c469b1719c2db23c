"""Native DICOM Model XML, written and read again, and held against another parser."""

import re
import shutil
import subprocess
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.xml_model import NAMESPACE, write_xml
from app.dicom.xml_reader import read_xml
from tests.samples import SAMPLES, UNREADABLE, sample_id

LIMITS = Limits()
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
NAMED = f"{{{NAMESPACE}}}"


def without_controls(value: Any) -> Any:
    """Return a JSON value without the characters that no XML document can hold."""
    if isinstance(value, str):
        return CONTROLS.sub("", value)
    if isinstance(value, list):
        return [without_controls(one) for one in value]
    if isinstance(value, dict):
        return {key: without_controls(one) for key, one in value.items()}
    return value


def attribute(dataset: dict[str, Any], tag: str) -> ElementTree.Element:
    """Return the one DicomAttribute of a tag, by Python's own parser."""
    (found,) = ElementTree.fromstring(write_xml(dataset)).iterfind(f"*[@tag='{tag}']")  # noqa: S314
    return found


def shown(element: ElementTree.Element) -> str:
    """Return what is in an element, without the namespace."""
    text = "".join(ElementTree.tostring(child, "unicode") for child in element)
    return text.replace("ns0:", "").replace(f' xmlns:ns0="{NAMESPACE}"', "").replace(" />", "/>")


@pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.name not in UNREADABLE], ids=sample_id
)
def test_a_sample_comes_back_from_xml_as_it_was(path: Any) -> None:
    scanned = scan(BytesSource(path.read_bytes()), LIMITS, Memo())
    dataset = orjson.loads(scanned.metadata)
    document = write_xml(dataset)
    again = read_xml(document, LIMITS)
    assert again == without_controls(dataset)
    assert list(again) == list(dataset)
    tree = ElementTree.fromstring(document)  # noqa: S314
    assert tree.tag == f"{NAMED}NativeDicomModel"
    assert len(tree.findall(f"{NAMED}DicomAttribute")) == len(dataset)


@pytest.mark.parametrize(
    ("vr", "content", "inside"),
    [
        ("CS", {}, ""),
        ("CS", {"Value": ["A", None, "C"]}, '<Value number="1">A</Value><Value number="2"/>'
         '<Value number="3">C</Value>'),
        ("DS", {"Value": [1.5, -2]}, '<Value number="1">1.5</Value><Value number="2">-2</Value>'),
        ("LT", {"Value": ["a<b>&\"c'\r\nd\x00\x1b"]},
         '<Value number="1">a&lt;b&gt;&amp;"c\'\r\nd</Value>'),
        ("PN", {"Value": [{"Alphabetic": "Doe^Jane^^Dr", "Phonetic": "X^^^^Y^Z"}, None]},
         '<PersonName number="1"><Alphabetic><FamilyName>Doe</FamilyName><GivenName>Jane'
         "</GivenName><MiddleName/><NamePrefix>Dr</NamePrefix></Alphabetic><Phonetic><FamilyName>X"
         "</FamilyName><GivenName/><MiddleName/><NamePrefix/><NameSuffix>Y^Z</NameSuffix>"
         '</Phonetic></PersonName><PersonName number="2"/>'),
        ("SQ", {"Value": [{}, {"00100020": {"vr": "LO", "Value": ["1"]}}]},
         '<Item number="1"/><Item number="2"><DicomAttribute tag="00100020" vr="LO"'
         ' keyword="PatientID"><Value number="1">1</Value></DicomAttribute></Item>'),
        ("OB", {"InlineBinary": "AAE="}, "<InlineBinary>AAE=</InlineBinary>"),
        ("OW", {"BulkDataURI": 'a?b="1"&c\n'}, '<BulkData uri="a?b=&quot;1&quot;&amp;c&#10;"/>'),
    ],
)  # fmt: skip
def test_a_value_is_written_as_the_model_has_it(
    vr: str, content: dict[str, Any], inside: str
) -> None:
    found = attribute({"00091001": {"vr": vr, **content}}, "00091001")
    assert found.attrib == {"tag": "00091001", "vr": vr}
    assert shown(found) == inside.replace("\r", "&#13;") or shown(found) == inside


@pytest.mark.skipif(not shutil.which("dcm2xml"), reason="DCMTK is not installed")
@pytest.mark.parametrize("name", ["CT_small.dcm", "reportsi.dcm", "liver_1frame.dcm"])
def test_dcmtk_names_the_same_attributes(name: str) -> None:
    (path,) = (path for path in SAMPLES if path.name == name)
    command = ["dcm2xml", "-nat", "+Ca", "latin-1", str(path)]
    theirs = subprocess.run(command, capture_output=True, check=True).stdout
    ours = write_xml(orjson.loads(scan(BytesSource(path.read_bytes())).metadata))
    assert len(ElementTree.fromstring(ours).findall(".//*[@tag]")) > 30  # noqa: S314
    assert named_in(ours) == named_in(theirs)


def named_in(document: bytes) -> list[tuple[str | None, ...]]:
    """Return tag, VR, keyword and creator of every DicomAttribute of a Data Set."""
    found = ElementTree.fromstring(document).findall(".//{*}DicomAttribute")  # noqa: S314
    names = [tuple(map(one.get, ("tag", "vr", "keyword", "privateCreator"))) for one in found]
    return [one for one in names if one[0] and not one[0].startswith("0002")]


def test_a_standard_attribute_has_its_keyword() -> None:
    assert attribute({"00100010": {"vr": "PN"}}, "00100010").get("keyword") == "PatientName"
    assert attribute({"60003000": {"vr": "OW"}}, "60003000").get("keyword") == "OverlayData"


PRIVATE: dict[str, Any] = {
    "00290010": {"vr": "LO", "Value": ['A "B"']},
    "00290011": {"vr": "LO", "Value": ["TWICE"]},
    "00290012": {"vr": "LO", "Value": ["TWICE"]},
    "00290013": {"vr": "LO"},
    "00291001": {"vr": "CS", "Value": ["X"]},
    "00291102": {"vr": "CS", "Value": ["Y"]},
    "00291202": {"vr": "CS", "Value": ["Z"]},
    "00291303": {"vr": "CS", "Value": ["of nobody"]},
}


def test_a_private_attribute_has_its_creator() -> None:
    assert attribute(PRIVATE, "00290001").get("privateCreator") == 'A "B"'
    assert attribute(PRIVATE, "00291202").get("privateCreator") == "TWICE"
    assert attribute(PRIVATE, "00291303").get("privateCreator") is None
    assert attribute(PRIVATE, "00290010").get("privateCreator") is None


def test_private_attributes_come_back_in_their_blocks() -> None:
    assert read_xml(write_xml(PRIVATE), LIMITS) == PRIVATE
