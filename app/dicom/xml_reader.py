"""Documents of the Native DICOM Model (PS3.19 §A.1) as DICOM JSON objects.

XML from outside is hostile. There is no document type, hence no entity and nothing external; the
depth, the number of elements and, by the size of the document, the text are bounded. Recursion
there is none: open elements are a stack. Names of elements count with the model's namespace or
without any, as programs write both.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from app.dicom.json_model import read_decimal, read_integer
from app.dicom.limits import Limits
from app.dicom.xml_model import NAME_COMPONENTS, NAME_GROUPS, NAMESPACE
from app.errors import InvalidRequest

_ROOT = "NativeDicomModel"
_PREFIX = f"{NAMESPACE} "
_LEVELS_OF_A_SEQUENCE = 2
_LEVELS_OF_A_NAME = 4
_CHILDREN = {
    "": {_ROOT},
    _ROOT: {"DicomAttribute"},
    "DicomAttribute": {"Value", "PersonName", "Item", "BulkData", "InlineBinary"},
    "Item": {"DicomAttribute"},
    "PersonName": set(NAME_GROUPS),
    **{group: set(NAME_COMPONENTS) for group in NAME_GROUPS},
}
_WITH_TEXT = frozenset({"Value", "InlineBinary", *NAME_COMPONENTS})
_DIGITS = re.compile("[+-]?[0-9]{1,20}", re.ASCII)
_PUBLIC_BLOCK, _FIRST_BLOCK, _LAST_BLOCK = "00", 0x10, 0xFF


def read_xml(document: bytes, limits: Limits) -> dict[str, Any]:
    """Return what a document says as a DICOM JSON object, its keys in ascending order.

    Numbers are read as the index keeps them: text that is no number stays text.

    Raises:
        InvalidRequest: it is not well formed, not of the Native DICOM Model, has a document type,
            or is over a limit; the message has line and column, from 1.

    Source: PS3.19 §A.1.3, §A.1.5; PS3.18 §F.3
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    reader = _Reader(limits)
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(document, True)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error} ({_place(parser)})") from error
    except (expat.ExpatError, LookupError, ValueError) as error:
        place = _place(parser)
        raise InvalidRequest(f"XML that is well formed was expected ({place})") from error
    return reader.dataset


def _place(parser: expat.XMLParserType) -> str:
    return f"line {parser.CurrentLineNumber}, column {parser.CurrentColumnNumber + 1}"


def _refuse_document_type(*_: object) -> None:
    raise InvalidRequest("XML without a document type was expected")


@dataclass(slots=True)
class _Open:
    """An element that is not closed yet, and what its children have said so far."""

    name: str
    attributes: dict[str, str]
    texts: list[str] = field(default_factory=list)
    elements: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Of a Data Set: tag, creator and JSON of each."""
    values: dict[int, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    """Of a person's name: groups; of a group: components."""
    binary: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Takes what the parser calls out."""

    def __init__(self, limits: Limits) -> None:
        self.dataset: dict[str, Any] = {}
        self._stack = [_Open("", {})]
        self._left = limits.elements
        self._depth = limits.nesting_depth * _LEVELS_OF_A_SEQUENCE + 1 + _LEVELS_OF_A_NAME + 1

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.removeprefix(_PREFIX)
        if name not in _CHILDREN.get(self._stack[-1].name, ()):
            raise InvalidRequest(f"XML of the {_ROOT} was expected, not <{name[:64]}> there")
        self._left -= 1
        if self._left < 0 or len(self._stack) > self._depth:
            raise InvalidRequest("the XML has too many elements, or too deep ones")
        self._stack.append(_Open(name, attributes))

    def text(self, text: str) -> None:
        top = self._stack[-1]
        if top.name in _WITH_TEXT:
            top.texts.append(text)
        elif not text.isspace():
            raise InvalidRequest(f"text stands where none is expected, in <{top.name[:64]}>")

    def end(self, _: str) -> None:
        closed = self._stack.pop()
        _ENDS[closed.name](self, closed, self._stack[-1])

    def end_root(self, closed: _Open, _: _Open) -> None:
        self.dataset = _dataset(closed)

    def end_attribute(self, closed: _Open, parent: _Open) -> None:
        vr = closed.attributes.get("vr", "").upper()
        tag = closed.attributes.get("tag", "").upper()
        element: dict[str, Any] = {"vr": vr, **closed.binary}
        if closed.values and not closed.binary:
            convert = _NUMBERS.get(vr, _itself)
            last = max(closed.values)
            values = (closed.values.get(at) for at in range(1, last + 1))
            element["Value"] = [convert(one) if isinstance(one, str) else one for one in values]
        parent.elements.append((tag, closed.attributes.get("privateCreator", ""), element))

    def end_item(self, closed: _Open, parent: _Open) -> None:
        parent.values[_number(closed, parent)] = _dataset(closed)

    def end_name(self, closed: _Open, parent: _Open) -> None:
        parent.values[_number(closed, parent)] = closed.parts or None

    def end_group(self, closed: _Open, parent: _Open) -> None:
        named = [at for at, part in enumerate(NAME_COMPONENTS) if part in closed.parts]
        count = max(named, default=-1) + 1
        parent.parts[closed.name] = "^".join(
            closed.parts.get(part, "") for part in NAME_COMPONENTS[:count]
        )

    def end_component(self, closed: _Open, parent: _Open) -> None:
        parent.parts[closed.name] = "".join(closed.texts)

    def end_value(self, closed: _Open, parent: _Open) -> None:
        parent.values[_number(closed, parent)] = "".join(closed.texts) or None

    def end_bulk(self, closed: _Open, parent: _Open) -> None:
        parent.binary = {"BulkDataURI": closed.attributes.get("uri", "")}

    def end_inline(self, closed: _Open, parent: _Open) -> None:
        text = "".join("".join(closed.texts).split())
        parent.binary = {"InlineBinary": text} if text else {}


_ENDS: dict[str, Callable[[_Reader, _Open, _Open], None]] = {
    _ROOT: _Reader.end_root,
    "DicomAttribute": _Reader.end_attribute,
    "Item": _Reader.end_item,
    "PersonName": _Reader.end_name,
    **dict.fromkeys(NAME_GROUPS, _Reader.end_group),
    **dict.fromkeys(NAME_COMPONENTS, _Reader.end_component),
    "Value": _Reader.end_value,
    "BulkData": _Reader.end_bulk,
    "InlineBinary": _Reader.end_inline,
}


def _number(closed: _Open, parent: _Open) -> int:
    """Return the place of a value, from 1; the next one where none is said.

    Nothing is allocated from it beyond what stands there: places may not be left out by far.
    """
    text = closed.attributes.get("number", "")
    following = len(parent.values) + 1
    if not text:
        return following
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= 2 * following):
        raise InvalidRequest("values and items numbered from 1 in order were expected")
    return int(text[:9])


def _dataset(opened: _Open) -> dict[str, Any]:
    """Return the elements by their tags, each private one in the block of its creator."""
    blocks: dict[tuple[str, str], str] = {}
    taken: dict[str, set[str]] = defaultdict(set)
    for tag, creator, element in opened.elements:
        if _is_creator(tag) and not creator:
            values = element.get("Value", ())
            name = values[0] if len(values) == 1 and isinstance(values[0], str) else ""
            blocks.setdefault((tag[:4], name), tag[6:])
            taken[tag[:4]].add(tag[6:])
    found: dict[str, Any] = {}
    for tag, creator, element in opened.elements:
        group = tag[:4]
        if creator and tag[4:6] == _PUBLIC_BLOCK:
            if (group, creator) not in blocks:
                block = blocks[group, creator] = _free_block(group, taken[group])
                found[f"{group}00{block}"] = {"vr": "LO", "Value": [creator]}
            found[f"{group}{blocks[group, creator]}{tag[6:]}"] = element
        elif tag in found:
            raise InvalidRequest(f"the attribute {tag[:8]} stands twice")
        else:
            found[tag] = element
            taken[group].add(tag[4:6])
    return dict(sorted(found.items()))


def _is_creator(tag: str) -> bool:
    return tag[3:4] in set("13579BDF") and tag[4:6] == _PUBLIC_BLOCK


def _free_block(group: str, taken: set[str]) -> str:
    """Take the first block of a group that is free, for a creator without an element."""
    for number in range(_FIRST_BLOCK, _LAST_BLOCK + 1):
        block = f"{number:02X}"
        if block not in taken:
            taken.add(block)
            return block
    raise InvalidRequest(f"the group {group} has more private creators than it has blocks")


def _itself(value: str) -> Any:
    return value


def _binary_integer(value: str) -> Any:
    return int(value) if _DIGITS.fullmatch(value) else value


_NUMBERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV"), _binary_integer),
    **dict.fromkeys(("DS", "FL", "FD"), read_decimal),
    "IS": read_integer,
}
