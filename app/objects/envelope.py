"""Encryption in the format age (age-encryption.org/v1): who writes needs a public key alone.

A file of identities is what `age-keygen` writes; SSH keys of type ed25519 and rsa do as well.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from app.errors import InvalidRequest, Unavailable
from app.objects.staged import BLOCK, Staged

Recipient: TypeAlias = Any
Identity: TypeAlias = Any
Work: TypeAlias = Callable[["Reading", BinaryIO], None]


def read_recipients(words: Iterable[str]) -> list[Recipient]:
    """Return public keys: each word is one, or names a file with one on a line.

    Raises:
        InvalidRequest: a word is neither.
    """
    from pyrage import RecipientError, ssh, x25519  # noqa: PLC0415 - for those who encrypt

    found = []
    for line in _lines(words):
        kind = ssh if line.startswith("ssh-") else x25519
        try:
            found.append(kind.Recipient.from_str(line))
        except RecipientError as error:
            raise InvalidRequest(
                f"{line[:80]!r} is no public key of age, nor a file of them: {error}"
            ) from None
    return found


def read_identities(path: Path | None) -> list[Identity]:
    """Return the private keys of a file, as `age-keygen` or `ssh-keygen` writes them.

    Raises:
        InvalidRequest: it cannot be read, or holds none.
    """
    from pyrage import IdentityError, ssh, x25519  # noqa: PLC0415

    if path is None:
        return []
    try:
        data = path.read_bytes()
        if b"PRIVATE KEY-----" in data:
            return [ssh.Identity.from_buffer(data)]
        return [x25519.Identity.from_str(line) for line in _lines([str(path)])]
    except (OSError, UnicodeDecodeError, IdentityError) as error:
        raise InvalidRequest(f"{path} holds no private key of age: {error}") from None


def _lines(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        path = Path(word)
        text = word if word.startswith(("age1", "ssh-")) else None
        if text is None and not path.is_file():
            raise InvalidRequest(f"{word[:80]!r} is no public key of age, nor a file of them")
        for line in (path.read_text() if text is None else text).splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.strip()


class Reading:
    """A staged part as a file that is read from front to back."""

    def __init__(self, staged: Staged) -> None:
        self._source = staged.source()
        self._size = staged.size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, b"" at the end."""
        left = self._size - self._at
        data = self._source.read(self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data


def encrypted(staged: Staged, recipients: Sequence[Recipient]) -> AsyncIterator[bytes]:
    """Yield the bytes of a staged part, for these alone to read."""
    from pyrage import encrypt_io  # noqa: PLC0415

    return _worked(staged, lambda source, target: encrypt_io(source, target, list(recipients)))


def decrypted(staged: Staged, identities: Sequence[Identity]) -> AsyncIterator[bytes]:
    """Yield what was encrypted. What was changed or cut off is an error before its end.

    Raises:
        Unavailable: these identities cannot read it, or it is damaged.
    """
    from pyrage import decrypt_io  # noqa: PLC0415

    return _worked(staged, lambda source, target: decrypt_io(source, target, list(identities)))


async def _worked(staged: Staged, work: Work) -> AsyncIterator[bytes]:
    """Yield what a thread writes, as it comes: a pipe holds it back."""
    from pyrage import DecryptError, EncryptError  # noqa: PLC0415

    readable, writable = os.pipe()

    def run() -> None:
        with open(writable, "wb") as target:  # noqa: PTH123 - a descriptor
            work(Reading(staged), target)

    working = asyncio.create_task(asyncio.to_thread(run))
    try:
        while data := await asyncio.to_thread(os.read, readable, BLOCK):
            yield data
        await working
    except (DecryptError, EncryptError, OSError) as error:
        raise Unavailable(f"it cannot be read with this key, or is damaged: {error}") from None
    finally:
        os.close(readable)  # what still writes then fails
        await asyncio.gather(working, return_exceptions=True)
