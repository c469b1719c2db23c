"""Asks whether what we build on has known weaknesses: `make advisories`.

`pip-audit` asks for advisories of the packages in the locks. Where the network does not reach them
nothing is known, which is said and is no failure; `pip-audit` itself would call it none found.
Exit code 1: something has a known weakness.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LOCKS = ("install", "run", "dev", "fuzz")
"""The shortest first: where that is not answered, no other one is asked about."""
REQUIREMENTS = Path(__file__).parent.parent / "requirements"
SECONDS = 600
UNREACHED = "the advisories cannot be reached from here; nothing is known."


def asked(lock: str, *options: str) -> Sequence[Mapping[str, Any]] | None:
    """Return what is known of each package of a lock, None if nobody answers."""
    path = REQUIREMENTS / f"{lock}.txt"
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes",
               "--progress-spinner=off", "--timeout=15", "--format=json", *options]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - our own
            [*command, "-r", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        found: Sequence[Mapping[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return found


def judged(lock: str, packages: Sequence[Mapping[str, Any]] | None) -> tuple[list[str], bool]:
    """Return what to say of a lock, and whether something in it is known to be weak."""
    unseen = [one["name"] for one in packages or () if "skip_reason" in one]
    if not packages or len(unseen) == len(packages):
        return [f"{lock}: {UNREACHED}"], False
    weak = list(_weaknesses(packages))
    said = [f"{lock}: {one}" for one in weak]
    count = len(packages) - len(unseen)
    said.append(f"{lock}: {count} packages were looked up, {len(weak)} weaknesses are known.")
    if unseen:
        said.append(f"{lock}: nothing is known of {', '.join(unseen)}.")
    return said, bool(weak)


def _weaknesses(packages: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for one in packages:
        for found in one.get("vulns", ()):
            mended = ", ".join(found.get("fix_versions", ())) or "no version"
            names = ", ".join((found["id"], *found.get("aliases", ())))
            yield f"{one['name']} {one['version']}: {names}; mended in {mended}"


def main() -> int:
    """Ask of all locks; further arguments are for `pip-audit`."""
    weak = False
    for lock in LOCKS:
        said, found = judged(lock, asked(lock, *sys.argv[1:]))
        sys.stdout.write("\n".join(said) + "\n")
        weak = weak or found
        if said[0].endswith(UNREACHED):
            break
    return int(weak)


if __name__ == "__main__":
    sys.exit(main())
