"""What we build on: its list, and what is known of it."""

import re
import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema_rs
import orjson
import pytest

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements/run.txt").read_text()
DEPLOY = str(ROOT / "deploy")


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    """The document that `make sbom` writes."""
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/sbom.py"], capture_output=True, check=True, cwd=ROOT
    )
    document: dict[str, Any] = orjson.loads(done.stdout)
    return document


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DEPLOY)
    return import_module("advisories")


def test_the_list_is_what_cyclonedx_asks_for(sbom: dict[str, Any]) -> None:
    schemas = resources.files("cyclonedx.schema") / "_res"

    def schema(name: str) -> Any:
        return orjson.loads((schemas / name).read_bytes())

    whole = schema("bom-1.6.SNAPSHOT.schema.json")
    others = {it: schema(it) for it in _named(whole)}
    registry = jsonschema_rs.Registry(
        [(f"http://cyclonedx.org/schema/{name}", found) for name, found in others.items()]
    )
    validator = jsonschema_rs.validator_for(whole, registry=registry)
    assert [error.message for error in validator.iter_errors(sbom)] == []
    assert not validator.is_valid({**sbom, "components": [{"name": "without a type"}]})


def _named(whole: Any) -> set[str]:
    """Return the files of other schemas that one refers to."""
    text = orjson.dumps(whole).decode()
    return set(re.findall(r'"\$ref":"([a-z][^"#]*\.schema\.json)', text))


def test_every_package_of_the_lock_is_in_the_list_with_its_digests(sbom: dict[str, Any]) -> None:
    listed = {one["name"]: one for one in sbom["components"] if one["type"] == "library"}
    locked = set(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", LOCK, re.MULTILINE))
    absent = {name for name, _ in locked} - set(listed)
    assert all(re.search(rf"^{name}==.*;", LOCK, re.MULTILINE) for name in absent)  # elsewhere
    for name, one in listed.items():
        assert (name, one["version"]) in locked  # one of several: older Pythons have older ones
        (files,) = one["externalReferences"]
        assert files["hashes"]
        assert all(it["content"] in LOCK for it in files["hashes"])
    assert sum("licenses" in one for one in listed.values()) > 0.9 * len(listed)


def test_the_list_says_what_needs_what_and_what_wheels_bring_along(sbom: dict[str, Any]) -> None:
    needs = {one["ref"].partition("@")[0]: one["dependsOn"] for one in sbom["dependencies"]}
    ours = {one.partition("@")[0] for one in needs["pkg:generic/fileroom"]}
    assert {"pkg:pypi/fastapi", "pkg:pypi/pydicom", "pkg:pypi/imagecodecs"} <= ours
    assert any(one.startswith("pkg:pypi/greenlet@") for one in needs["pkg:pypi/sqlalchemy"])
    within = {
        library["name"]
        for one in sbom["components"]
        for library in one.get("components", ())
    }  # fmt: skip
    assert {"openjpeg", "charls", "libjpeg_turbo", "postgresql"} <= within


def test_the_same_lock_makes_the_same_list(sbom: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(DEPLOY)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    again = import_module("sbom").document()
    assert again["metadata"]["timestamp"] == "2001-09-09T01:46:40Z"
    again["metadata"]["timestamp"] = sbom["metadata"]["timestamp"]
    assert orjson.loads(orjson.dumps(again)) == sbom


SOUND = {"name": "a", "version": "1", "vulns": []}
UNSEEN = {"name": "b", "skip_reason": "not found"}
WEAK = {
    "name": "c",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}],
}


@pytest.mark.parametrize(
    ("packages", "said", "weak"),
    [
        (None, ["run: the advisories cannot be reached from here; nothing is known."], False),
        ([UNSEEN], ["run: the advisories cannot be reached from here; nothing is known."], False),
        ([SOUND], ["run: 1 packages were looked up, 0 weaknesses are known."], False),
        (
            [SOUND, UNSEEN],
            [
                "run: 1 packages were looked up, 0 weaknesses are known.",
                "run: nothing is known of b.",
            ],
            False,
        ),
        (
            [WEAK, SOUND],
            [
                "run: c 2: PYSEC-1, CVE-1; mended in 3",
                "run: 2 packages were looked up, 1 weaknesses are known.",
            ],
            True,
        ),
    ],
)
def test_what_nobody_looked_up_is_not_called_sound(
    advisories: ModuleType, packages: Any, said: list[str], weak: bool
) -> None:
    assert advisories.judged("run", packages) == (said, weak)


def test_without_a_network_the_check_says_so_and_does_not_fail(
    advisories: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["advisories"])
    monkeypatch.setattr(advisories, "LOCKS", ("install",))
    assert advisories.main() == 0
    said = "install: the advisories cannot be reached from here; nothing is known.\n"
    assert capsys.readouterr().out == said


def test_every_requirement_is_pinned_with_digests_and_names_no_index() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        entries = path.read_text().replace("\\\n", " ").splitlines()
        assert entries
        for entry in entries:
            assert re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
        assert "://" not in path.read_text()
