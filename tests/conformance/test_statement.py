"""The conformance statement says what the code does."""

import re

from app.dicom.store_report import FailureReason, WarningReason
from app.web.problems import STATUS
from tests.conformance_statement import PAGE, TABLES, names_in, operations, renewed

PAGE_TEXT = PAGE.read_text("utf-8")


def _section(number: str) -> str:
    found = re.search(rf"^###? {re.escape(number)} .*?(?=^###? |\Z)", PAGE_TEXT, re.M | re.S)
    assert found is not None, number
    return found[0]


def _first_cells(section: str, pattern: str) -> list[str]:
    return re.findall(rf"^\| ({pattern}) \|", section, re.MULTILINE)


def test_its_tables_are_those_of_the_code() -> None:
    assert sorted(names_in(PAGE_TEXT)) == sorted(TABLES)
    assert renewed(PAGE_TEXT) == PAGE_TEXT, "run `make openapi`"


def test_it_lists_every_reason_that_is_given() -> None:
    section = _section("3.2")
    reasons = [int(code, 16) for code in _first_cells(section, "[0-9A-F]{4}")]
    assert reasons == sorted(FailureReason)
    assert all(f"{warning:04X}" in section for warning in WarningReason)


def test_it_lists_every_status_that_is_answered() -> None:
    listed = {int(code) for code in _first_cells(_section("7"), r"\d{3}")}
    answered = {
        int(status)
        for item in operations().values()
        for operation in item.values()
        for status in operation["responses"]
    }
    assert answered | {int(status) for status in STATUS.values()} <= listed
    assert listed - answered - set(STATUS.values()) == {405}


def test_it_names_settings_that_there_are() -> None:
    settings = (PAGE.parent / "settings.md").read_text("utf-8")
    named = set(re.findall(r"`(FILEROOM_[A-Z_]+)`", PAGE_TEXT))
    assert named
    assert {name for name in named if name not in settings} == set()


def test_every_requirement_of_the_annex_is_in_no_other_part() -> None:
    head, annex = PAGE_TEXT.split("# Annex A: requirement by requirement\n")
    assert re.findall(r"^\| [A-Z]-\d\d", head, re.MULTILINE) == []
    assert len(re.findall(r"^\| [A-Z]-\d\d", annex, re.MULTILINE)) > 250


def test_the_statement_has_the_parts_of_the_template() -> None:
    parts = re.findall(r"^## \d (.+)$", PAGE_TEXT, re.MULTILINE)
    assert parts == [
        "Overview",
        "Implementation model",
        "Services",
        "Transfer Syntaxes and media types",
        "Character sets",
        "Configuration",
        "Network and statuses",
        "Security",
    ]
