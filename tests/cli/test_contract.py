"""The contract as a file: that it is YAML, whole, and compared."""

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.contract import _lines, check_contract, contract_text
from app.cli.refusal import Refusal
from app.main import create_app
from app.settings import Settings


def test_the_text_is_the_contract_in_yaml() -> None:
    assert yaml.safe_load(contract_text()) == create_app(Settings()).openapi()


def test_what_the_contract_refers_to_is_in_it() -> None:
    contract = create_app(Settings()).openapi()
    waiting: list[Any] = [contract]
    named: set[str] = set()
    while waiting:
        match waiting.pop():
            case {"$ref": str(name)}:
                named.add(name)
            case dict(value):
                waiting.extend(value.values())
            case list(value):
                waiting.extend(value)
    for name in named:
        assert reduce(getitem, name.removeprefix("#/").split("/"), contract), name
    assert "$defs" not in contract_text()


@pytest.mark.parametrize(
    "value",
    [
        {"a": "yes", "no": 1, "200": None, "x-y": True, "$ref": "#/a"},
        {"nested": {"list": [1, 2.5, {"b": ["c", []]}, [[1], [2]]], "empty": {}}},
        {"text": "two\nlines: with 'quotes', \"more\", \\ and \t tabs", "é": "µ\u2028\u0085\x7f"},
        {"": "#not a comment", " leading": "- not a list", "a: b": "{", "~": "~"},
    ],
)
def test_yaml_reads_back_what_was_written(value: dict[str, object]) -> None:
    assert yaml.safe_load("\n".join(_lines(value))) == value


def test_a_file_that_is_current_passes(tmp_path: Path) -> None:
    (tmp_path / "openapi.yaml").write_text(contract_text())
    check_contract(tmp_path / "openapi.yaml")


def test_a_file_that_differs_is_refused_with_the_difference(tmp_path: Path) -> None:
    (tmp_path / "openapi.yaml").write_text(contract_text().replace("Fileroom", "Fireloom", 1))
    with pytest.raises(Refusal, match=r"(?s)not current.*Fireloom.*Fileroom"):
        check_contract(tmp_path / "openapi.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be read: No such file"):
        check_contract(tmp_path / "openapi.yaml")
