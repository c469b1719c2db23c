"""A place for backups, a directory or a bucket, and what lies there:

    objects/<key>           each object once, for all backups; put anew only where it was damaged
    index/<stamp>.dump      the index of one backup, as `pg_dump` writes it
    index/<stamp>.secrets   what the archive keeps beside its objects
    backups/<stamp>.json    what the backup is; written last, so that without it there is none

With a public key, all but the last have `.age` at the end and are encrypted to it.
"""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import orjson

from app.dicom.limits import Limits
from app.errors import Conflict, NotFound, Unavailable
from app.objects.base import ObjectStore
from app.objects.bucket import Bucket
from app.objects.envelope import Identity, Recipient, decrypted, encrypted
from app.objects.local import LocalStore
from app.objects.staged import Staged
from app.objects.staging import Staging

FORMAT = 1
_BACKUPS = "backups/"
_MOMENT = "%Y%m%dT%H%M%S.%fZ"
_ALL = replace(Limits(), part_bytes=2**62, reserve_bytes=0)


@dataclass(frozen=True, slots=True)
class Backup:
    """What `backups/<stamp>.json` says: of which moment it is, and what has to be in it."""

    stamp: str
    at: datetime
    finished: datetime
    version: str
    revision: str
    server: int
    encrypted: bool
    index_sha256: str
    index_size: int
    position: tuple[int, int]
    tables: dict[str, list[str]]
    objects: int = 0
    size: int = 0
    missing: tuple[str, ...] = ()
    """Objects that could not be read as they were stored, up to a number."""

    @property
    def dump_key(self) -> str:
        """Where its index lies."""
        return f"index/{self.stamp}.dump"

    @property
    def secrets_key(self) -> str:
        """Where its secrets lie."""
        return f"index/{self.stamp}.secrets"


class BackupPlace:
    """Where backups lie; `recipients` and `identities` are empty where nothing is encrypted."""

    def __init__(
        self,
        store: ObjectStore,
        staging: Staging,
        recipients: Sequence[Recipient] = (),
        identities: Sequence[Identity] = (),
    ) -> None:
        self.staging = staging
        self._store = store
        self._recipients = recipients
        self._identities = identities

    @property
    def encrypts(self) -> bool:
        """Whether what is put is encrypted."""
        return bool(self._recipients)

    async def has(self, key: str, size: int | None) -> bool:
        """Say whether something was put already; what is cut off is removed, to be put anew."""
        try:
            there = await self._store.size(self._name(key))
        except NotFound:
            return False
        if self.encrypts or size in {None, there}:
            return True
        await self._store.delete(key)
        return False

    async def put(self, key: str, staged: Staged, *, anew: bool = False) -> None:
        """Put a part that was staged in `staging`; one that is there stays, unless it is `anew`.

        What gives way goes only when all of what comes is at hand.

        Raises:
            StorageFull, Unavailable: the place does not take it.
        """
        if not self.encrypts:
            await self._put(key, staged, anew)
            return
        sealed = await self.staging.stage(encrypted(staged, self._recipients))
        try:
            await self._put(self._name(key), sealed, anew)
        finally:
            sealed.discard()

    async def _put(self, name: str, staged: Staged, anew: bool) -> None:
        if anew:
            await self._store.delete(name)
        try:
            await self._store.put(name, staged)
        except Conflict:  # of another backup to the same place
            return

    def _name(self, key: str) -> str:
        return f"{key}.age" if self.encrypts else key

    async def get(self, backup: Backup, key: str) -> Staged:
        """Return what was put, decrypted; the caller discards it.

        Raises:
            NotFound: it is not there.
            Unavailable: it cannot be read, or not with these identities.
        """
        if not backup.encrypted:
            return await self.staging.stage(await self._store.stream(key))
        if not self._identities:
            raise Unavailable("this backup is encrypted: name the file with its private key")
        sealed = await self.staging.stage(await self._store.stream(f"{key}.age"))
        try:
            return await self.staging.stage(decrypted(sealed, self._identities))
        finally:
            sealed.discard()

    async def finish(self, backup: Backup) -> None:
        """Write what the backup is; from here on there is one."""
        document = {"format": FORMAT, **{name: getattr(backup, name) for name in _FIELDS}}
        staged = await self.staging.stage(_once(orjson.dumps(document)))
        try:
            await self._store.put(f"{_BACKUPS}{backup.stamp}.json", staged)
        finally:
            staged.discard()

    async def stamps(self) -> list[str]:
        """Return the backups that are here, the oldest first."""
        keys = [key async for key in self._store.keys(_BACKUPS)]
        return sorted(key.removeprefix(_BACKUPS).removesuffix(".json") for key in keys)

    async def load(self, stamp: str = "") -> Backup:
        """Return a backup, the newest one without a stamp.

        Raises:
            NotFound: there is none.
            Unavailable: a newer version of this program made it, or it cannot be read.
        """
        stamps = await self.stamps()
        if stamp not in {"", *stamps} or not stamps:
            raise NotFound("Backup", stamp or "(any)")
        key = f"{_BACKUPS}{stamp or stamps[-1]}.json"
        document: dict[str, Any] = orjson.loads(
            b"".join([chunk async for chunk in await self._store.stream(key)])
        )
        if document.pop("format") > FORMAT:
            raise Unavailable(f"backup {stamp or stamps[-1]} is of a newer version of Fileroom")
        for name in ("at", "finished"):
            document[name] = datetime.fromisoformat(document[name])
        for name in ("position", "missing"):
            document[name] = tuple(document[name])
        return Backup(**document)

    async def forget_older(self, keep: int) -> list[str]:
        """Remove all backups but the newest ones; objects stay. Return those that are gone.

        Raises:
            Unavailable: the place does not answer.
        """
        gone = (await self.stamps())[:-keep]
        for stamp in gone:
            await self._store.delete(f"{_BACKUPS}{stamp}.json")
            for key in (f"index/{stamp}.dump", f"index/{stamp}.secrets"):
                await self._store.delete(key)
                await self._store.delete(f"{key}.age")
        return gone


_FIELDS = tuple(Backup.__dataclass_fields__)


def new_stamp(at: datetime, before: Sequence[str]) -> str:
    """Return the name of a backup of a moment: it sorts after all `before`, whatever the clock."""
    newest = before[-1].partition("-")[0] if before else ""
    moment = f"{at.astimezone(UTC):{_MOMENT}}"
    if moment <= newest:
        moment = f"{datetime.strptime(newest, _MOMENT) + timedelta(microseconds=1):{_MOMENT}}"  # noqa: DTZ007
    return f"{moment}-{token_hex(3)}"


def object_name(key: str) -> str:
    """Return where an object of the archive lies in a place."""
    return f"objects/{key}"


def pack_secrets(secrets: dict[str, bytes]) -> bytes:
    """Return the secrets as one document."""
    return orjson.dumps({name: base64.b64encode(one).decode() for name, one in secrets.items()})


def unpack_secrets(document: bytes) -> dict[str, bytes]:
    """Return what `pack_secrets` was given."""
    return {name: base64.b64decode(text) for name, text in orjson.loads(document).items()}


@asynccontextmanager
async def open_place(
    place: Path | Bucket,
    scratch: Path,
    recipients: Sequence[Recipient] = (),
    identities: Sequence[Identity] = (),
    *,
    reading: bool = False,
) -> AsyncIterator[BackupPlace]:
    """Open a place for backups for a block; what goes to or from a bucket waits in `scratch`.

    With `reading` what comes from a directory waits there, too: it may be one that cannot be
    written.

    Raises:
        StorageFull, Unavailable: it cannot be used.
    """
    store: ObjectStore
    if isinstance(place, Path):
        store = LocalStore(place)
        waiting = scratch if reading else place / "staging"
    else:
        from app.objects.remote import RemoteStore  # noqa: PLC0415 - its library is large

        store, waiting = RemoteStore(place), scratch
    staging = Staging(waiting, _ALL)
    try:
        if not reading or not isinstance(place, Path):
            await store.check()
        yield BackupPlace(store, staging, recipients, identities)
    finally:
        staging.close()
        store.close()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
