"""The tables of docs/conformance.md that are made from the code, so that they cannot be wrong.

    python -m tests.conformance_statement

writes them into the page; a test says when that has to be done. Each stands between two comments
of HTML, the first of which has its name.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom.charset import python_encoding
from pydicom.uid import UID

from app.dicom.attributes import TABLE, Attribute, Returned
from app.dicom.encodings import targets
from app.dicom.matching import MATCHABLE
from app.dicom.non_patient import CATEGORIES
from app.dicom.transfer_syntaxes import ROWS, TransferSyntax
from app.main import DICOMWEB, create_app
from app.settings import Settings

PAGE = Path(__file__).parent.parent / "docs/conformance.md"
_METHODS = ("get", "post", "put", "delete", "options")
_PLACE = re.compile(r"(<!-- made from the code: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _table(head: Iterable[str], rows: Iterable[str]) -> list[str]:
    columns = list(head)
    return [_row(*columns), f"|{'---|' * len(columns)}", *rows]


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def operations() -> dict[str, Mapping[str, Any]]:
    """Return the operations of each path, those of all non-patient categories as one."""
    found: dict[str, Mapping[str, Any]] = {}
    names = "|".join(CATEGORIES)
    for path, item in create_app(Settings()).openapi()["paths"].items():
        found.setdefault(re.sub(rf"(?<=/)({names})(?=/|$)", "{npi-name}", path), item)
    return found


def _media_types(operation: Mapping[str, Any]) -> Iterator[str]:
    for status in ("200", "206"):
        yield from operation["responses"].get(status, {}).get("content", ())


def resources() -> list[str]:
    """Return what can be done with each resource, and in which media types."""
    rows = []
    for path, item in operations().items():
        if not path.startswith(DICOMWEB) and path != "/wado":
            continue
        for method in _METHODS:
            if method not in item:
                continue
            taken = item[method].get("requestBody", {}).get("content", ())
            answers = dict.fromkeys(_media_types(item[method]))
            shown = f"`{path.removeprefix(DICOMWEB) or '/'}`"
            rows.append(_row(shown, method.upper(), _codes(taken), _codes(answers)))
    return _table(("resource", "method", "takes", "answers"), rows)


def non_patient_categories() -> list[str]:
    """Return the categories of non-patient Instances with their SOP Classes."""
    rows = [
        _row(f"`{one.name}`", "<br>".join(f"{UID(uid).name} ({uid})" for uid in one.sop_classes))
        for one in CATEGORIES.values()
    ]
    return _table(("`{npi-name}`", "SOP Classes"), rows)


def transfer_syntaxes() -> list[str]:
    """Return all Transfer Syntaxes and what is done with each."""
    encoded = {target.uid for target in targets()}
    rows = [
        _row(
            one.uid,
            one.name,
            "as it is" if _leaves(one) else "rewritten",
            "yes" if one.decodable else "no",
            "yes" if one.uid in encoded else "no",
            f"`{one.media_type}`",
        )
        for one in ROWS
    ]
    return _table(("UID", "name", "leaves", "decoded", "encoded", "a frame is"), rows)


def _leaves(syntax: TransferSyntax) -> bool:
    return not (syntax.implicit or syntax.big_endian or syntax.big_endian_pixels)


def character_sets() -> list[str]:
    """Return the Defined Terms of Specific Character Set that are understood."""
    terms = sorted(term for term in python_encoding if term.startswith(("ISO", "GB")))
    return [_codes(terms)]


_RETURNED: Mapping[Returned, str] = {
    Returned.ALWAYS: "always",
    Returned.PRESENT: "if there is one",
    Returned.COMPUTED: "always",
    Returned.COMPUTED_ASKED: "with `includefield`",
    Returned.NEVER: "no",
}


_OF_IMAGES = ("NumberOfFrames", "Rows", "Columns", "BitsAllocated")


def search_attributes() -> list[str]:
    """Return what the index has columns for, and what searches return by themselves."""
    rows = [
        _row(
            one.level.name.capitalize(),
            one.keyword,
            ".".join(f"{tag:08X}" for tag in one.path),
            one.vr,
            _key(one),
            "if there is one" if one.keyword in _OF_IMAGES else _RETURNED[one.returned],
        )
        for one in TABLE
        if one.returned is not Returned.ASKED
    ]
    return _table(("level", "attribute", "tag", "VR", "key", "returned"), rows)


def _key(one: Attribute) -> str:
    if one.keyword == "TimezoneOffsetFromUTC":
        return "the zone of the keys"
    if one.path in MATCHABLE:
        return "yes"
    return "no" if one.computed or one.vr == "SQ" else "looked up"


TABLES: Mapping[str, Callable[[], list[str]]] = {
    "resources": resources,
    "non_patient_categories": non_patient_categories,
    "transfer_syntaxes": transfer_syntaxes,
    "character_sets": character_sets,
    "search_attributes": search_attributes,
}


def renewed(page: str) -> str:
    """Return the page with all of its tables made anew."""
    return _PLACE.sub(
        lambda place: place[1] + "\n".join(TABLES[place[2]]()) + "\n" + place[4], page
    )


def names_in(page: str) -> list[str]:
    """Return the names of the tables that the page has places for."""
    return [place[2] for place in _PLACE.finditer(page)]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{PAGE.name} is current\n")
