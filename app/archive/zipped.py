"""A Study, Series or Instance as one zip, written while it is sent (PS3.18 §10.4.4, note 1).

It holds the Instances that `retrieve` would send, under names for people. Nothing is compressed:
images hardly get smaller by it, and a zip that streams as fast as the disk is worth more.
"""

import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from app.archive.answers import Answer, Body, Known, as_iterator, nothing_known
from app.archive.context import Archive
from app.archive.exporting import name_instances
from app.archive.retrieve import retrieve_instances
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.uids import InstanceRef, Ref
from app.errors import NotAcceptable
from app.mime.media_types import Form
from app.rights import Principal

ZIP = "application/zip"


async def retrieve_zip(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    transfer_syntaxes: tuple[str, ...] = (),
    known: Known = nothing_known,
) -> Answer:
    """Return a zip of the Instances, as they are stored unless Transfer Syntaxes are named.

    Raises:
        NotFound: there is no such resource, or `principal` may not see its Study.
        NotAcceptable: no Instance can be made in any of the Transfer Syntaxes.
        Unavailable: the first Instance cannot be read.
    """
    form = Form(APPLICATION_DICOM, multipart=True, transfer_syntaxes=transfer_syntaxes or ("*",))
    found = await retrieve_instances(
        archive, principal, ref, [form], lambda version: known(f"{version}-zip")
    )
    if not found.complete:
        raise NotAcceptable(
            "Not all of the Instances can be made in this Transfer Syntax, and a zip holds all",
            [ZIP],
        )
    version = f"{found.version}-zip"
    if not isinstance(found.bodies, AsyncIterator) and not found.bodies:
        return Answer(ZIP, multipart=False, bodies=(), version=version)
    names = await name_instances(archive, principal, ref)
    uid = ref.instance if isinstance(ref, InstanceRef) else getattr(ref, "series", ref.study)
    headers = {"Content-Type": ZIP, "Content-Disposition": f'attachment; filename="{uid}.zip"'}
    body = Body(headers, None, _pieces(as_iterator(found.bodies), names))
    return Answer(ZIP, multipart=False, bodies=[body], version=version)


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


async def _pieces(bodies: AsyncIterator[Body], names: dict[str, str]) -> AsyncIterator[bytes]:
    file = _Pieces()
    now = datetime.now(UTC).timetuple()[:6]
    with zipfile.ZipFile(file, "w") as target:  # type: ignore[call-overload]
        async for body in bodies:
            assert body.ref is not None  # noqa: S101 - these are Instances
            name = names.get(body.ref.instance)
            if name is None:  # it was added this moment
                continue
            info = zipfile.ZipInfo(f"{name}.dcm", now)
            large = body.length is None or body.length >= 2**31
            with target.open(info, "w", force_zip64=large) as entry:
                async for chunk in body.chunks:
                    entry.write(chunk)  # its checksum takes less time than a thread and back
                    yield file.take()
            yield file.take()
    yield file.take()
