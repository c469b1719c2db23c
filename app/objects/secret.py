"""A secret that an archive makes once and keeps beside its objects: every replica has it, too."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from app.errors import Conflict, Unavailable
from app.objects.base import SECRETS

SECRET_BYTES = 32


def load_secret(objects: Path, name: str) -> bytes:
    """Return a secret of 32 bytes, made at the first call; of several at once, the first one's.

    Raises:
        Unavailable: the directory cannot be used, or something else stands in the file.
    """
    path = objects / SECRETS / name
    try:
        if not path.exists():
            _make(path, secrets.token_bytes(SECRET_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise Unavailable("the secrets of the archive cannot be read or made") from error
    if len(secret) != SECRET_BYTES:
        raise Unavailable("a secret of the archive is damaged; restore it from a backup")
    return secret


def list_secrets(objects: Path) -> dict[str, bytes]:
    """Return all secrets that were made.

    Raises:
        Unavailable: they cannot be read.
    """
    try:
        names = sorted(path.name for path in (objects / SECRETS).glob("[!.]*") if path.is_file())
    except OSError as error:
        raise Unavailable("the secrets of the archive cannot be read") from error
    return {name: load_secret(objects, name) for name in names}


def keep_secret(objects: Path, name: str, secret: bytes) -> None:
    """Put a secret where there is none yet.

    Raises:
        Conflict: another one is there.
        Unavailable: the directory cannot be used.
    """
    try:
        _make(objects / SECRETS / name, secret)
    except OSError as error:
        raise Unavailable("the secrets of the archive cannot be made") from error
    if load_secret(objects, name) != secret:
        raise Conflict(f"the archive has another secret named {name} already")


def _make(path: Path, secret: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)  # never the store's own: it may be elsewhere
    descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(written, path)
    finally:
        Path(written).unlink()
