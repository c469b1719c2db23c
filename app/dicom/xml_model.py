"""DICOM JSON objects as documents of the Native DICOM Model (PS3.19 §A.1). `xml_reader` reads them.

Text is built, not trees: a Series of a thousand Instances goes out in one answer. What stands in a
document is what the JSON object says. Control characters, which XML cannot carry even as
references, are left out; a carriage return is written as one, since parsers would drop it.

A private element is named by its creator, its block left out of the tag (0029xx10 of SIEMENS is
00290010), as the standard has it; so is read by others. Where that would be ambiguous, since no
creator is named or two blocks have the same one, the tag stands as it is.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
NAME_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

_START = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
)
_END = "</NativeDicomModel>"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CREATOR_BLOCK = re.compile("[0-9A-F]{3}[13579BDF]00[1-9A-F][0-9A-F]")

Element = Mapping[str, Any]
Dataset = Mapping[str, Element]


def write_xml(dataset: Dataset) -> bytes:
    """Return a DICOM JSON object as a whole XML document in UTF-8; the same for the same object.

    Source: PS3.19 §A.1.3, §A.1.5
    """
    return "".join((_START, *_attributes(dataset), _END)).encode()


def _attributes(dataset: Dataset) -> Iterator[str]:
    creators = _creators(dataset)
    for tag, element in dataset.items():
        vr = element["vr"]
        if creators and tag in creators:
            shown, creator = creators[tag]
            yield f'<DicomAttribute tag="{shown}" vr="{vr}" privateCreator={creator}>'
        else:
            yield _public_start(tag, vr)
        values = element.get("Value")
        if values is not None:
            yield _VALUES.get(vr, _plain)(values)
        elif "InlineBinary" in element:
            yield f"<InlineBinary>{_text(element['InlineBinary'])}</InlineBinary>"
        elif "BulkDataURI" in element:
            yield f"<BulkData uri={_attribute(element['BulkDataURI'])}/>"
        yield "</DicomAttribute>"


@lru_cache(maxsize=16384)
def _public_start(tag: str, vr: str) -> str:
    keyword = keyword_for_tag(int(tag, 16))
    named = f' keyword="{keyword}"' if keyword else ""
    return f'<DicomAttribute tag="{tag}" vr="{vr}"{named}>'


def _creators(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Return for each private element its tag without a block, and its creator as an attribute."""
    blocks = {tag: _creator(dataset[tag]) for tag in dataset if _CREATOR_BLOCK.fullmatch(tag)}
    if not blocks:
        return {}
    groups = [(tag[:4], name) for tag, name in blocks.items()]
    found = {}
    for tag in dataset:
        name = blocks.get(f"{tag[:4]}00{tag[4:6]}", "")
        if name:
            single = groups.count((tag[:4], name)) == 1
            found[tag] = (f"{tag[:4]}00{tag[6:]}" if single else tag, _attribute(name))
    return found


def _creator(element: Element) -> str:
    values = element.get("Value", ())
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if _SPECIAL.search(text) is None:
        return text
    return escape(_FORBIDDEN.sub("", text), {"\r": "&#13;"})


def _attribute(value: str) -> str:
    return quoteattr(_FORBIDDEN.sub("", value), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _plain(values: list[Any]) -> str:
    return "".join(
        f'<Value number="{number}"/>'
        if value is None
        else f'<Value number="{number}">{_text(value)}</Value>'
        for number, value in enumerate(values, 1)
    )


def _names(values: list[Any]) -> str:
    return "".join(
        f'<PersonName number="{number}">{"".join(_groups(name or {}))}</PersonName>'
        for number, name in enumerate(values, 1)
    )


def _groups(name: Mapping[str, str]) -> Iterator[str]:
    for group in NAME_GROUPS:
        if group in name:
            # components beyond the fifth, which no name should have, stay with the suffix
            parts = zip(NAME_COMPONENTS, name[group].split("^", 4), strict=False)
            inner = "".join(f"<{part}>{_text(text)}</{part}>" for part, text in parts)
            yield f"<{group}>{inner}</{group}>"


def _items(values: list[Any]) -> str:
    return "".join(
        f'<Item number="{number}">{"".join(_attributes(item or {}))}</Item>'
        for number, item in enumerate(values, 1)
    )


_VALUES: dict[str, Callable[[list[Any]], str]] = {"PN": _names, "SQ": _items}
