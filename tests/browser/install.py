"""Fetch what `packages.txt` names into `.browser/` with npm, and check it: `make browser`.

Only these packages: OHIF's is built already, and playwright-core brings no browser. The provider of
OpenID Connect comes with what it needs, by the lock in `provider/`.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = Path(__file__).with_name("packages.txt")
HOME = Path(__file__).parents[2] / ".browser"
LOCKED = Path(__file__).with_name("provider")
PROVIDER = HOME / "provider"


def where(name: str) -> Path:
    """Return the directory of a package; it is there once `make browser` was run."""
    for line in PACKAGES.read_text().splitlines():
        found, version, _ = line.split()
        if found == name:
            return HOME / f"{name.replace('/', '-').removeprefix('@')}-{version}"
    raise LookupError(name)


def _fetch(name: str, version: str, integrity: str) -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as temporary:
        command = ["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", temporary]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(temporary).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if integrity != f"sha512-{digest}":
            sys.exit(f"{name} {version} is not what packages.txt says")
        with tarfile.open(archive) as packed:
            packed.extractall(temporary, filter="data")
        (Path(temporary) / "package").rename(where(name))


def main() -> None:
    """Fetch what is not there yet."""
    HOME.mkdir(exist_ok=True)
    for line in PACKAGES.read_text().splitlines():
        name, version, integrity = line.split()
        if not where(name).exists():
            _fetch(name, version, integrity)
    _fetch_provider()


def _fetch_provider() -> None:
    """Install the provider anew if its lock is another one than before."""
    lock = LOCKED / "package-lock.json"
    there = PROVIDER / lock.name
    if there.exists() and there.read_bytes() == lock.read_bytes():
        return
    shutil.rmtree(PROVIDER, ignore_errors=True)
    PROVIDER.mkdir()
    shutil.copy(LOCKED / "package.json", PROVIDER)
    shutil.copy(lock, there)
    command = ["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=PROVIDER, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
