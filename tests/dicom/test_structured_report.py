"""Reports to be read: every value type, and nothing that a browser would run."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from app.dicom.document import Document
from app.dicom.structured_report import content_tree, report_html, report_text, report_xml
from tests.dicom.test_appearance import json_of

EVIL = "<script>alert('\"&')</script>\x00"


def code(meaning: str) -> list[dict[str, Any]]:
    return [{"00080100": "1", "00080104": meaning}]


def item(value_type: str, **values: Any) -> dict[str, Any]:
    named = {"0040A040": value_type, "0040A010": "CONTAINS", "0040A043": code("Thing")}
    return named | {tag[1:]: value for tag, value in values.items()}


def value_of(one: dict[str, Any]) -> str:
    return content_tree(Document(json_of(one))).value


REFERENCE = [{"00081155": "1.2.3", "00081160": [4, 5]}]


@pytest.mark.parametrize(
    ("one", "value"),
    [
        (item("TEXT", t0040A160="a word"), "a word"),
        (item("CODE", t0040A168=code("Lung")), "Lung"),
        (item("CODE", t0040A168=[{"00080119": "longer"}]), "longer"),
        (item("CODE", t0040A168=[{"00080120": "urn:x"}]), "urn:x"),
        (
            item(
                "NUM",
                t0040A300=[{"0040A30A": 7.5, "004008EA": code("mm")}],
                t0040A301=code("Not a number"),
            ),
            "7.5 mm (Not a number)",
        ),
        (item("NUM"), ""),
        (item("PNAME", t0040A123=[{"Alphabetic": "Doe^Jane"}]), "Doe Jane"),
        (item("DATE", t0040A121="20240101"), "20240101"),
        (item("TIME", t0040A122="1010"), "1010"),
        (item("DATETIME", t0040A120="202401011010"), "202401011010"),
        (item("UIDREF", t0040A124="1.2"), "1.2"),
        (item("IMAGE", t00081199=REFERENCE), "Instance 1.2.3, frames 4, 5"),
        (item("COMPOSITE", t00081199=[{"00081155": "1.2"}]), "Instance 1.2"),
        (item("WAVEFORM", t00081199=REFERENCE * 2), "Instance 1.2.3, frames 4, 5; " * 2),
        (item("SCOORD", t00700023="POINT", t00700022=[1.5, 2]), "POINT 1.5 2"),
        (item("SCOORD3D"), ""),
        (item("TCOORD", t0040A130="POINT", t0040A138=[1, 2]), "POINT 1, 2"),
        (item("CONTAINER"), ""),
        (item("SOMETHING"), ""),
        ({"0040DB73": [1, 2, 1]}, "see item 1.2.1"),
    ],
)
def test_every_type_of_value_becomes_words(one: dict[str, Any], value: str) -> None:
    if isinstance(one.get("0040A123"), list):
        members = json_of({tag: v for tag, v in one.items() if tag != "0040A123"})
        members["0040A123"] = {"vr": "PN", "Value": one["0040A123"]}
        assert content_tree(Document(members)).value == value
    else:
        assert value_of(one) == value.removesuffix("; ")


REPORT = {
    "00100020": EVIL,
    "0040A040": "CONTAINER",
    "0040A043": code(f"Report {EVIL}"),
    "0040A491": "COMPLETE",
    "0040A730": [
        item("TEXT", t0040A160=f"first line\nsecond {EVIL}"),
        item(
            "CONTAINER",
            t0040A730=[item("TEXT", t0040A160="deep", t0040A043=[]), item("CONTAINER")],
        ),
        item("TEXT", t0040A043=[]),
    ],
}


def test_a_page_escapes_everything() -> None:  # R-19 U-19
    page = report_html(Document(json_of(REPORT)))
    assert "<script" not in page
    assert "\0" not in page
    assert page.count("&lt;script&gt;") == 4
    assert "<dt>Completion</dt><dd>COMPLETE</dd>" in page
    assert page.count("<li>") == page.count("</li>") == 5
    assert page.index("Thing") < page.index("deep")


def test_a_text_is_indented() -> None:  # R-19 U-19
    lines = report_text(Document(json_of(REPORT))).splitlines()
    assert lines[1] == "=" * len(lines[0])
    assert "Completion: COMPLETE" in lines
    assert "Thing: first line" in lines
    assert f"  second {EVIL[:-1]}\ufffd" in lines
    assert "  deep" in lines


def test_xml_is_well_formed() -> None:
    root = ET.fromstring(report_xml(Document(json_of(REPORT))))  # noqa: S314 - our own
    assert root.tag == "report"
    assert [one.get("concept") for one in root.iter("item")] == [
        "Thing",
        "Thing",
        None,
        "Thing",
        None,
    ]
    assert [one.text for one in root.iter("value")][1] == "deep"
    assert root.find("fact").text == f"{EVIL[:-1]}\ufffd"  # type: ignore[union-attr]


def test_a_report_without_a_title_has_one() -> None:
    assert "<h1>Report</h1>" in report_html(Document({}))
    assert report_text(Document(json_of({"0008103E": "Series"}))).startswith("Series\n======\n")
