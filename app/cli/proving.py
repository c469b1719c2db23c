"""`fileroom manifest`, `verify --manifest` and `seal-keys`: what is sealed, proved."""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.archive.context import Archive
from app.archive.examine import State
from app.archive.manifest import Manifest, ManifestHead, ManifestProof, read_manifest
from app.archive.manifests import open_manifest
from app.archive.pace import Pace
from app.archive.rotation import read_keys, rotate_key
from app.archive.seal_keys import PUBLIC_BYTES, key_id
from app.archive.sealed_log import Told as Object
from app.archive.sealed_log import objects_told_of, verify_told
from app.archive.segment import Segment, moment
from app.archive.verify import Verified
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.cli.verifying import Told, check_report
from app.index.seal_keys import NumberedKey
from app.objects.base import segment_key
from app.settings import Settings


def run_manifest(settings: Settings, day: str, to: Path) -> None:
    """Write the manifest of a day; a file of that name is replaced once it is whole.

    Raises:
        InvalidRequest, NotFound: it is no day, or nothing was sealed on it.
        Refusal: there is no archive, or the file cannot be written.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await archive.sealer.seal_waiting()
        pieces = await open_manifest(archive, OPERATOR, day)
        with _replaced(to) as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)

    with_archive(settings, "fileroom manifest", work)
    with _opened(to) as manifest:
        sys.stdout.write(f"{to}: {_described(manifest.head)}\n")


def run_prove(
    settings: Settings | None,
    paths: Sequence[Path],
    keys: Sequence[str],
    rate: float | None,
    report: Path | None,
) -> int:
    """Prove manifests, one after the other, and return the exit code.

    With `settings` it is by the keys of that archive, whose objects are read, too; without them
    by public keys alone.

    Raises:
        InvalidRequest: a file is no manifest.
        Refusal: there is no archive, a key is none, or a file cannot be read or written.
    """
    check_report(report)
    told = Told()
    proving = _Proving(told)
    pace = Pace(rate * 1e6 if rate else float("inf"))

    async def work(archive: Archive) -> None:
        trusted = [one.public for one in await read_keys(archive, OPERATOR)]
        for path in paths:
            with _opened(path) as manifest:
                tenant_id = manifest.head.tenant_id
                objects = proving.objects(path, manifest, trusted)
                await verify_told(archive, tenant_id, objects, pace, told.add)

    with told:
        if settings is not None:
            check_there(settings)
            with_archive(settings, "fileroom verify", work, looks=True)
        else:
            public = [_public(key) for key in keys]
            for path in paths:
                with _opened(path) as manifest:
                    for _ in proving.segments(path, manifest, public):
                        pass
    return told.conclude(report)


def run_list_keys(settings: Settings) -> None:
    """Print the public keys.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> list[NumberedKey]:
        return await read_keys(archive, OPERATOR)

    for one in with_archive(settings, "fileroom seal-keys", work):
        made = moment(one.made_at)[:10]
        sys.stdout.write(f"{one.public.hex()}  {key_id(one.public)}, since {made}\n")


def run_rotate(settings: Settings) -> None:
    """Change the key, and print the new one.

    Raises:
        Conflict: somebody else does it at the same time.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> tuple[bytes, bytes]:
        changed = await rotate_key(archive, OPERATOR)
        await archive.sealer.settle(OPERATOR.scope.tenant_id)
        return changed

    old, new = with_archive(settings, "fileroom seal-keys", work)
    sys.stdout.write(f"{new.hex()}  {key_id(new)}, after {key_id(old)}, which has signed it\n")


class _Proving:
    """Proves manifests in their order, and tells what they are."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._before: ManifestHead | None = None

    def segments(self, path: Path, manifest: Manifest, keys: Iterable[bytes]) -> Iterator[Segment]:
        """Yield the sound segments of a manifest; what is wrong is told at its end."""
        proof = ManifestProof(manifest, keys)
        if self._before and not proof.follows(self._before):
            proof.faults.append(f"it does not go on from that of {self._before.day}")
        self._before = manifest.head
        for segment in proof.segments():
            key = segment_key(segment.head.tenant_id, segment.head.number)
            self._told.add(Verified(State.SEALED, key, size=len(segment.as_bytes())))
            yield segment
        for fault in proof.faults:
            self._told.add(Verified(State.DAMAGED, str(path), detail=fault))
        if not proof.faults:
            sys.stdout.write(f"proven: {path}: {_described(manifest.head)}\n")

    def objects(self, path: Path, manifest: Manifest, keys: Iterable[bytes]) -> Iterator[Object]:
        """Yield the objects that the sound segments of a manifest tell of."""
        for segment in self.segments(path, manifest, keys):
            yield from objects_told_of(segment)


def _described(head: ManifestHead) -> str:
    over = "" if head.complete else ", which is not over"
    segments = f"segments {head.first} to {head.last}"
    before = f"after {head.before.hex()[:16]}" if head.before else "the first ones"
    return f"{head.day}{over}, {segments} ({before}), {head.entries:,} events"


def _public(text: str) -> bytes:
    try:
        public = bytes.fromhex(text)
    except ValueError:
        public = b""
    if len(public) != PUBLIC_BYTES:
        raise Refusal(
            "--key takes a public key of 64 digits, as `fileroom seal-keys list` prints it; "
            f"not {text[:80]!r}."
        )
    return public


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """Give a file that gets this name when it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[Manifest]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.") from None
    with file:
        yield read_manifest(file)
