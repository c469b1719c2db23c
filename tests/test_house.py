"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import app
from app.errors import ArchiveError
from app.web.problems import STATUS

ROOT = Path(__file__).parent.parent
TREES = ("app", "tests", "alembic", "benchmarks")
SOURCES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
TOO_VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "manager", "misc", "types"}
REGISTRIES = re.compile(r"(pythonhosted|pypi|npmjs|crates|deb\.debian|ghcr|quay)\.(org|io|com)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.$}~-])/(?:work|root|Users)/[\w.]|(?<![\w.])/home/[a-z]")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _tracked_text() -> Iterator[tuple[str, str]]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        if b"\0" not in data:
            yield name, data.decode(errors="replace")


def _words_for_errors() -> Iterator[type[ArchiveError]]:
    waiting = [ArchiveError]
    while waiting:
        for child in waiting.pop().__subclasses__():
            if child.__module__.startswith("app."):
                waiting.append(child)
                yield child


@pytest.mark.parametrize("error", sorted(set(_words_for_errors()), key=str))
def test_every_error_word_has_a_status(error: type[ArchiveError]) -> None:
    assert STATUS[error] >= 400


def test_no_file_is_too_long_to_read() -> None:
    lengths = {_name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{_name(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in _functions(_tree(path))
    }
    assert {name: length for name, length in lengths.items() if length > 50} == {}


def test_every_public_function_of_the_domain_names_its_source() -> None:
    unsourced = [
        f"{_name(path)}: {node.name}"
        for path in (ROOT / "app/dicom").glob("*.py")
        for node in _tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and "Source: " not in (ast.get_docstring(node) or "")
    ]
    assert unsourced == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        _name(path) for path in (ROOT / "app").rglob("*.py") if not ast.get_docstring(_tree(path))
    ]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [_name(path) for path in SOURCES if path.stem in TOO_VAGUE] == []


def test_every_test_is_a_sentence() -> None:
    terse = [
        f"{_name(path)}: {node.name}"
        for path in SOURCES
        if path.name.startswith("test_")
        for node in _functions(_tree(path))
        if node.name.startswith("test_") and node.name.count("_") < 3
    ]
    assert terse == []


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{name}: {line.strip()[:120]}"
        for name, text in _tracked_text()
        for line in text.splitlines()
        if REGISTRIES.search(line) or MACHINE_PATHS.search(line)
    ]
    assert found == []


def test_the_changelog_has_an_entry_for_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == app.__version__
    assert re.search(
        rf"^## {re.escape(app.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_every_decision_is_one_page_of_four_parts() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        parts = re.findall(r"^## (\w+)", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"], page.name
        assert len(text.splitlines()) <= 60, page.name


def test_every_claim_of_conformance_is_held_by_a_test_that_cites_it() -> None:
    page = (ROOT / "docs/conformance.md").read_text()
    rows = re.findall(
        r"^\| ([SQWMJGXRUCDNKLPZ]-\d\d) \| . \| .* \| ([^|]+) \| ([^|]*) \|$", page, re.MULTILINE
    )
    assert len(rows) > 200
    assert len({number for number, _, _ in rows}) == len(rows)
    for number, state, tests in rows:
        named = re.findall(r"`([^`]+)`", tests)
        assert state.startswith("not yet") == (not named), number
        assert state.startswith(("yes", "partly: ", "not yet")), number
        for name in named:
            assert number in (ROOT / f"tests/{name}.py").read_text(), (number, name)


def test_every_link_in_the_documents_leads_somewhere() -> None:
    broken = [
        f"{name}: {target}"
        for name, text in _tracked_text()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        if "://" not in target and not (ROOT / name).parent.joinpath(target).exists()
    ]
    assert broken == []


def test_make_offers_what_the_documents_promise() -> None:
    makefile = (ROOT / "Makefile").read_text()
    promised = [
        "help",
        "install",
        "run",
        "test",
        "test-all",
        "check",
        "fix",
        "bench",
        "openapi",
        "lock",
        "browser",
        "clean",
    ]
    assert set(promised) <= set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert len(makefile.splitlines()) <= 60
