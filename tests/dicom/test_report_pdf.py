"""Reports on paper: what they say in every script, and nothing by chance."""

import re
import zlib
from typing import Any

import pytest

from app.dicom.document import Document
from app.dicom.report_fonts import faces_of
from app.dicom.report_pdf import report_pdf
from tests.dicom.test_appearance import json_of
from tests.dicom.test_structured_report import code, item

NAMES = (
    "Müller^Änne", "Łukasz Žižka ščř", "Đặng Thị Hương", "Œuvré Ñandú Åse İbrahim Ğül",
    "山田^花子", "やまだ", "홍길동", "王小東", "Иванов Ёж", "Ελλάδα", "محمد علي", "שלום כהן",
    "สมชาย", "देवनागरी", "தமிழ்", "ქართული", "Հայերեն", "አማርኛ", "½ µ² ≥ ≤ ≈ → ①",
)  # fmt: skip


def report(*texts: str, **more: Any) -> Document:
    found = [item("TEXT", t0040A160=text) for text in texts]
    section = {**item("CONTAINER"), "0040A043": code("Findings"), "0040A730": found}
    root = {"0040A040": "CONTAINER", "0040A043": code("Report"), "0040A730": [section]}
    return Document(json_of({**root, **more}))


def streams(pdf: bytes) -> list[bytes]:
    """Return the streams of a PDF, decompressed."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    return [zlib.decompress(one) if one[:1] == b"\x78" else one for one in found]


def signs(pdf: bytes) -> set[str]:
    """Return all signs that its fonts say they stand for, so that they can be searched for."""
    maps = [one for one in streams(pdf) if b"beginbfchar" in one]
    pairs = [pair for one in maps for pair in re.findall(rb"<([0-9A-F]+)> <([0-9A-F]+)>", one)]
    return {sign for _, sign in pairs for sign in bytes.fromhex(sign.decode()).decode("utf-16-be")}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_is_on_paper(name: str) -> None:
    pdf = report_pdf(report(name, "Finding: none."))
    assert pdf.startswith(b"%PDF-")
    assert set(name) - {" "} <= signs(pdf)
    assert "\ufffd" not in signs(pdf)
    assert b"/FontFile2" in pdf or b"/FontFile3" in pdf


def test_names_in_the_head_are_there_too() -> None:
    name = {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田^花子"}]}
    document = report("fine")
    shown = signs(report_pdf(Document({**document.members, "00100010": name})))
    assert set("PatientDoeJane山田花子Report") <= shown


def test_the_same_report_is_the_same_bytes() -> None:
    assert report_pdf(report(*NAMES)) == report_pdf(report(*NAMES))
    assert report_pdf(report("one")) != report_pdf(report("two"))


def test_a_sign_that_no_face_has_is_replaced() -> None:
    assert "\ufffd" in signs(report_pdf(report("a \U0001f9ff sign")))


def test_marks_join_their_letters() -> None:
    assert "ž" in signs(report_pdf(report("z\u030c")))


@pytest.mark.slow
def test_a_long_report_goes_on_over_pages() -> None:
    text = "\n".join(["a line of words " * 30, "שלום עולם " * 40, "山" * 500] * 8)
    pdf = report_pdf(report(text))
    assert len(re.findall(rb"/Type /Page\b", pdf)) > 3


def test_what_is_nested_deeply_stays_on_the_page() -> None:
    nested = item("TEXT", t0040A160="innermost")
    for _ in range(40):
        nested = {**item("CONTAINER"), "0040A730": [nested]}
    assert set("innermost") <= signs(report_pdf(Document(json_of(nested))))


@pytest.mark.parametrize(
    ("text", "number"), [("山 かな", 0), ("山 ｶﾅ", 0), ("山 홍", 1), ("山", 2)]
)
def test_shared_signs_look_as_in_their_language(text: str, number: int) -> None:
    latin, east_asian = faces_of(["Latin", text])
    assert (latin.family, east_asian.family, east_asian.number) == (
        "noto-latin",
        "noto-cjk",
        number,
    )


def test_all_faces_are_there() -> None:
    every = [chr(sign) for sign in (*range(0x20, 0xD800), *range(0xE000, 0x20100))]
    faces = faces_of(every)
    assert len(faces) == 22
    assert all(face.path.is_file() for face in faces)
