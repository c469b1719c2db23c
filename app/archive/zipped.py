"""A Study, Series or Instance as one zip, written while it is sent (PS3.18 §10.4.4, note 1).

It holds the Instances that `retrieve` would send, under names for people; or, if a DICOMDIR is
asked for, under those that a medium has (PS3.12 Annex V), and the DICOMDIR last. Nothing is
compressed: images hardly get smaller by it, and a zip that streams as fast as the disk is worth
more.
"""

import hashlib
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from app.archive.answers import Answer, Body, Known, as_iterator, nothing_known
from app.archive.context import Archive
from app.archive.exporting import datasets_of, name_instances
from app.archive.retrieve import retrieve_instances
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.file_set import FileSet
from app.dicom.uids import InstanceRef, Ref
from app.errors import NotAcceptable
from app.mime.media_types import Form
from app.rights import Principal

ZIP = "application/zip"


@dataclass(frozen=True, slots=True)
class ZipRequest:
    """How a zip is wanted: as stored unless Transfer Syntaxes are named, with a DICOMDIR or not."""

    transfer_syntaxes: tuple[str, ...] = ()
    dicomdir: bool = False


async def retrieve_zip(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    wanted: ZipRequest,
    known: Known = nothing_known,
) -> Answer:
    """Return a zip of the Instances.

    Raises:
        NotFound: there is no such resource, or `principal` may not see its Study.
        NotAcceptable: no Instance can be made in any of the Transfer Syntaxes.
        Unavailable: the first Instance cannot be read.
    """
    form = Form(
        APPLICATION_DICOM, multipart=True, transfer_syntaxes=wanted.transfer_syntaxes or ("*",)
    )
    kind = "dicomdir" if wanted.dicomdir else "zip"
    found = await retrieve_instances(
        archive, principal, ref, [form], lambda version: known(f"{version}-{kind}")
    )
    if not found.complete:
        raise NotAcceptable(
            "Not all of the Instances can be made in this Transfer Syntax, and a zip holds all",
            [ZIP],
        )
    version = f"{found.version}-{kind}"
    if not isinstance(found.bodies, AsyncIterator) and not found.bodies:
        return Answer(ZIP, multipart=False, bodies=(), version=version)
    files = await (_on_a_medium if wanted.dicomdir else _for_people)(archive, principal, ref)
    uid = ref.instance if isinstance(ref, InstanceRef) else getattr(ref, "series", ref.study)
    headers = {"Content-Type": ZIP, "Content-Disposition": f'attachment; filename="{uid}.zip"'}
    body = Body(headers, None, _pieces(as_iterator(found.bodies), files))
    return Answer(ZIP, multipart=False, bodies=[body], version=version)


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files are called, by SOP Instance UID; and the DICOMDIR that is made of them."""

    names: Mapping[str, str]
    file_set: FileSet | None = None
    uid: str = ""
    """That of the File-set, the same each time."""

    def added(self, body: Body) -> None:
        """Take note of a file that was written."""
        if self.file_set is not None and body.ref is not None:
            syntax = body.headers["Content-Type"].partition("transfer-syntax=")[2]
            self.file_set.add(body.ref.instance, syntax)


async def _for_people(archive: Archive, principal: Principal, ref: Ref) -> _Files:
    names = await name_instances(archive, principal, ref)
    return _Files({uid: f"{name}.dcm" for uid, name in names.items()})


async def _on_a_medium(archive: Archive, principal: Principal, ref: Ref) -> _Files:
    file_set = FileSet(archive.limits)
    digest = hashlib.sha256(repr(ref).encode()).digest()
    names = {}
    async for _, (uid, dataset) in datasets_of(archive, principal, ref):
        names[uid] = file_set.name(dataset)
    return _Files(names, file_set, f"2.25.{UUID(bytes=digest[:16], version=5).int}")


class _Zip(zipfile.ZipFile):
    """A zip that is left unended where its answer is broken off: there is no file to close."""

    def __del__(self) -> None:
        """Write no end that nobody takes."""


class _Pieces:
    """A file that only grows at its end, and is taken away from its beginning."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Keep nothing back."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


async def _pieces(bodies: AsyncIterator[Body], files: _Files) -> AsyncIterator[bytes]:
    file = _Pieces()
    now = datetime.now(UTC).timetuple()[:6]
    with _Zip(file, "w") as target:  # type: ignore[call-overload]
        async for body in bodies:
            assert body.ref is not None  # noqa: S101 - these are Instances
            name = files.names.get(body.ref.instance)
            if name is None:  # it was added this moment
                continue
            info = zipfile.ZipInfo(name, now)
            large = body.length is None or body.length >= 2**31
            with target.open(info, "w", force_zip64=large) as entry:
                async for chunk in body.chunks:
                    entry.write(chunk)  # its checksum takes less time than a thread and back
                    yield file.take()
            files.added(body)
            yield file.take()
        if files.file_set is not None:
            with target.open(zipfile.ZipInfo("DICOMDIR", now), "w") as entry:
                for piece in files.file_set.directory(files.uid):
                    entry.write(piece)
                    yield file.take()
    yield file.take()
