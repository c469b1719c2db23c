"""Structured reports as something to read: the tree of content as HTML, plain text or XML.

Every text comes from outside and is escaped where it stands; pages have no script and no address.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape

from app.dicom.document import Document

_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HEAD = (
    ("Patient", "00100010"),
    ("Patient ID", "00100020"),
    ("Birth date", "00100030"),
    ("Sex", "00100040"),
    ("Study", "00081030"),
    ("Study date", "00080020"),
    ("Accession number", "00080050"),
    ("Content date", "00080023"),
    ("Completion", "0040A491"),
    ("Verification", "0040A493"),
)
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}"
    "dt{font-weight:bold;float:left;margin-right:.5em}ul{padding-left:1.5em}"
    "p{white-space:pre-line;margin:.2em 0}"
)


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One item of the tree, its values as words."""

    relationship: str
    value_type: str
    concept: str
    value: str
    children: tuple["ContentItem", ...]


def content_tree(document: Document) -> ContentItem:
    """Return a report's content; the root is the report itself.

    Source: PS3.3 §C.17.3, §C.18
    """
    value_type = document.text("0040A040")
    reference = document.numbers("0040DB73")
    value = _VALUES.get(value_type, _nothing)(document)
    if reference:
        value = "see item " + ".".join(str(int(number)) for number in reference)
    return ContentItem(
        relationship=document.text("0040A010"),
        value_type=value_type,
        concept=_code(document.item("0040A043")),
        value=_clean(value),
        children=tuple(content_tree(item) for item in document.items("0040A730")),
    )


def _clean(text: str) -> str:
    return _CONTROL.sub("\ufffd", text)


def _code(item: Document) -> str:
    meaning = item.text("00080104")
    value = item.text("00080100") or item.text("00080119") or item.text("00080120")
    return _clean(meaning or value)


def _nothing(_: Document) -> str:
    return ""


def _joined(tag: str) -> Callable[[Document], str]:
    return lambda item: ", ".join(item.texts(tag))


def _number(item: Document) -> str:
    measured = item.item("0040A300")
    value = ", ".join(measured.texts("0040A30A"))
    unit = _code(measured.item("004008EA"))
    qualifier = _code(item.item("0040A301"))
    return " ".join(filter(None, (value, unit, qualifier and f"({qualifier})")))


def _reference(item: Document) -> str:
    return "; ".join(_referenced(one) for one in item.items("00081199"))


def _referenced(one: Document) -> str:
    frames = ", ".join(one.texts("00081160"))
    return f"Instance {one.text('00081155')}" + (f", frames {frames}" if frames else "")


def _coordinates(item: Document) -> str:
    numbers = " ".join(f"{number:g}" for number in item.numbers("00700022"))
    return f"{item.text('00700023')} {numbers}".strip()


def _times(item: Document) -> str:
    places = (", ".join(item.texts(tag)) for tag in ("0040A132", "0040A138", "0040A13A"))
    return " ".join(filter(None, (item.text("0040A130"), *places)))


def _person(item: Document) -> str:
    return ", ".join(_name(name) for name in item.texts("0040A123"))


def _name(text: str) -> str:
    return text.replace("^", " ").strip()


_VALUES: dict[str, Callable[[Document], str]] = {
    "TEXT": _joined("0040A160"),
    "CODE": lambda item: _code(item.item("0040A168")),
    "NUM": _number,
    "PNAME": _person,
    "DATE": _joined("0040A121"),
    "TIME": _joined("0040A122"),
    "DATETIME": _joined("0040A120"),
    "UIDREF": _joined("0040A124"),
    "IMAGE": _reference,
    "COMPOSITE": _reference,
    "WAVEFORM": _reference,
    "SCOORD": _coordinates,
    "SCOORD3D": _coordinates,
    "TCOORD": _times,
}


def report_title(document: Document, root: ContentItem) -> str:
    """Return what a report is called.

    Source: PS3.3 §C.17.3 (Concept Name Code Sequence)
    """
    return root.concept or _clean(document.text("0008103E")) or "Report"


def report_facts(document: Document) -> list[tuple[str, str]]:
    """Return what stands at a report's head, as names and values: whose it is, and from when.

    Source: PS3.3 §C.7.1.1, §C.7.2.1, §C.17.2
    """
    found = ((name, _name(_clean(document.text(tag)))) for name, tag in _HEAD)
    return [(name, value) for name, value in found if value]


def report_html(document: Document) -> str:
    """Return a report as an HTML page.

    Source: PS3.18 §8.7.4 (text/html), Table 8.7.4-1
    """
    root = content_tree(document)
    title = escape(report_title(document, root))
    facts = "".join(
        f"<dt>{name}</dt><dd>{escape(value)}</dd>\n" for name, value in report_facts(document)
    )
    content = "".join(_html(child) for child in root.children)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f"<dl>\n{facts}</dl>\n<ul>\n{content}</ul>\n</body>\n</html>\n"
    )


def _html(item: ContentItem) -> str:
    concept = f"<b>{escape(item.concept)}</b>" if item.concept else ""
    between = ": " if concept and item.value else ""
    children = "".join(_html(child) for child in item.children)
    below = f"\n<ul>\n{children}</ul>\n" if children else ""
    return f"<li><p>{concept}{between}{escape(item.value)}</p>{below}</li>\n"


def report_text(document: Document) -> str:
    """Return a report as plain text, what is below an item indented.

    Source: PS3.18 §8.7.4 (text/plain), Table 8.7.4-1
    """
    root = content_tree(document)
    title = report_title(document, root)
    lines = [title, "=" * len(title), ""]
    lines += [f"{name}: {value}" for name, value in report_facts(document)]
    lines.append("")
    for child in root.children:
        lines += _lines(child, "")
    return "\n".join(lines) + "\n"


def _lines(item: ContentItem, indent: str) -> Iterator[str]:
    text = ": ".join(filter(None, (item.concept, item.value)))
    first, *more = text.splitlines() or [""]
    yield f"{indent}{first}"
    for line in more:
        yield f"{indent}  {line}"
    for child in item.children:
        yield from _lines(child, indent + "  ")


def report_xml(document: Document) -> str:
    """Return a report as XML: `report` with `item` elements, as deep as the content is.

    Source: PS3.18 §8.7.4 (text/xml), Table 8.7.4-1 (which names no schema)
    """
    root = content_tree(document)
    facts = "".join(
        f'<fact name="{escape(name)}">{escape(value)}</fact>\n'
        for name, value in report_facts(document)
    )
    content = "".join(_xml(child) for child in root.children)
    title = escape(report_title(document, root))
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{head}<report title="{title}">\n{facts}{content}</report>\n'


def _xml(item: ContentItem) -> str:
    attributes = "".join(
        f' {name}="{escape(value)}"'
        for name, value in (
            ("relationship", _clean(item.relationship)),
            ("type", _clean(item.value_type)),
            ("concept", item.concept),
        )
        if value
    )
    value = f"<value>{escape(item.value)}</value>" if item.value else ""
    return f"<item{attributes}>{value}{''.join(_xml(child) for child in item.children)}</item>\n"
