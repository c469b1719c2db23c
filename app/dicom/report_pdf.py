"""Structured reports on paper: the tree of content as PDF, its typefaces embedded.

The same report is the same bytes each time. Signs that no face has become the replacement sign.
Lines from right to left are put in their order; letters of Arabic are not joined.
"""

import logging
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.bidi import BidiParagraph, auto_detect_base_direction
from fpdf.enums import MethodReturnValue, TextDirection, XPos, YPos
from fpdf.fonts import TTFFont

from app.dicom.document import Document
from app.dicom.report_fonts import faces_of
from app.dicom.structured_report import ContentItem, content_tree, report_facts, report_title

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""When all of them were made, so that the same report is the same bytes."""
_REPLACEMENT = "\ufffd"
_TITLE, _HEADING, _TEXT, _LINE = 18.0, 13.0, 10.5, 1.4
_INDENT, _DEEPEST = 5.0, 12
"""Millimetres for each level, and levels that are told apart by it."""
_POINT = 25.4 / 72
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_Line = tuple[str, float, int]
"""A paragraph, its size in points, and how deep it stands."""


def report_pdf(document: Document) -> bytes:
    """Return a report as a PDF document of A4 pages.

    Source: PS3.18 §8.7.4 (application/pdf), Table 8.7.4-1
    """
    for name in ("fpdf", "fontTools"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they write of what is in a report
    root = content_tree(document)
    title = report_title(document, root)
    lines: list[_Line] = [(title, _TITLE, 0)]
    lines += [(f"{name}: {value}", _TEXT, 0) for name, value in report_facts(document)]
    lines += [("", _TEXT, 0)]
    for child in root.children:
        lines += _lines(child, 0)
    paper = _Paper([text for text, _, _ in lines])
    paper.pdf.set_title(title)
    for line in lines:
        paper.write(*line)
    return bytes(paper.pdf.output())


def _lines(item: ContentItem, depth: int) -> Iterator[_Line]:
    text = ": ".join(filter(None, (item.concept, item.value)))
    size = _HEADING if item.value_type == "CONTAINER" and not item.value else _TEXT
    for paragraph in text.splitlines():
        yield paragraph, size, depth
    for child in item.children:
        yield from _lines(child, depth + 1)


class _Paper:
    """Pages that are written on from top to bottom."""

    def __init__(self, texts: list[str]) -> None:
        self.pdf = FPDF(format="A4")
        self.pdf.set_creation_date(_ALWAYS)
        self.pdf.set_lang("en")
        faces = faces_of(unicodedata.normalize("NFC", text) for text in texts)
        for face in faces:
            self.pdf.add_font(face.family, fname=face.path, collection_font_number=face.number)
        families = [face.family for face in faces]
        self._first = families[0]
        self.pdf.set_fallback_fonts(families[1:], exact_match=False)
        fonts = (self.pdf.fonts[name] for name in families)
        self._known = {sign for font in fonts if isinstance(font, TTFFont) for sign in font.cmap}
        self.pdf.add_page()

    def write(self, text: str, size: float, depth: int) -> None:
        """Write one paragraph."""
        pdf = self.pdf
        pdf.set_font(self._first, size=size)
        height = size * _POINT * _LINE
        pdf.set_x(pdf.l_margin + _INDENT * min(depth, _DEEPEST))
        text = self._drawable(text)
        if not any(unicodedata.bidirectional(sign) in _RIGHT_TO_LEFT for sign in text):
            pdf.multi_cell(0, height, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            return
        direction = auto_detect_base_direction(text)
        align = "R" if direction is TextDirection.RTL else "L"
        for line in self._broken(text, height):
            shown = BidiParagraph(line, direction).get_reordered_string()
            pdf.cell(0, height, shown, align=align, new_x=XPos.LEFT, new_y=YPos.NEXT)

    def _broken(self, text: str, height: float) -> list[str]:
        lines = self.pdf.multi_cell(0, height, text, dry_run=True, output=MethodReturnValue.LINES)
        assert isinstance(lines, list)  # noqa: S101 - as it was asked for
        return lines

    def _drawable(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text.replace("\t", " "))
        return "".join(sign if ord(sign) in self._known else _REPLACEMENT for sign in text)
