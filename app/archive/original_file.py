"""The stored bytes of an Instance, as they are: what a bridge, a migration or a check wants."""

from functools import partial

from app.archive.answers import Answer, Body, Known, nothing_known
from app.archive.context import Archive
from app.archive.originals import lost, stream_stored
from app.dicom.transfer_syntaxes import OCTET_STREAM
from app.dicom.uids import InstanceRef
from app.errors import Forbidden, NotFound
from app.index.places import locate_instance
from app.rights import Principal, Verb


async def retrieve_original(
    archive: Archive, principal: Principal, ref: InstanceRef, known: Known = nothing_known
) -> Answer:
    """Return the object that holds an Instance, byte for byte; its version is its SHA-256.

    Raises:
        Forbidden: `principal` may not download.
        NotFound: there is no such Instance, or `principal` may not see its Study.
        Gone: there was one.
        Unavailable: its bytes cannot be read.
    """
    if Verb.DOWNLOAD not in principal.verbs:
        raise Forbidden("Downloading is not allowed to you")
    place = await locate_instance(archive.index, principal.scope, ref)
    version = place.sha256.hex()
    if known(version):
        return Answer(OCTET_STREAM, False, (), version=version)
    section = partial(stream_stored, archive, place)
    try:
        chunks = await section(0, place.size)
    except NotFound as error:
        raise lost(place) from error
    body = Body({"Content-Type": OCTET_STREAM}, place.size, chunks, section, place.ref)
    return Answer(OCTET_STREAM, False, [body], version=version)
