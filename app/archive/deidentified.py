"""An Instance handed out without the identity of its patient (PS3.18 §9.4.1.2.1, PS3.15 Annex E).

Frames are decoded, or encoded anew, and all goes through a filter: nothing that lies around pixels
is handed on. What cannot be cleaned is refused before the first byte.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

from app.archive.answers import Answer, Body, Known, begun, nothing_known
from app.archive.context import Archive
from app.archive.decoded import decoded_instance, from_thread
from app.archive.described import Described, Subject, describe
from app.archive.encoded import encoded_instance
from app.archive.frames import is_encodable
from app.archive.originals import inflated_source
from app.archive.retrieve import RENDITION
from app.dicom.confidentiality import EDITION, why_not, without_identity
from app.dicom.deidentify import MADE_HERE, Redactor, native_lengths
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.encodings import targets
from app.dicom.recode import rewritten
from app.dicom.rewrite import PIXEL_DATA
from app.dicom.scanned import FrameKind
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, find
from app.dicom.uids import InstanceRef
from app.errors import Forbidden, NotAcceptable
from app.index.places import InstancePlace
from app.rights import Principal, Verb

_REVISION = "2"
"""Grows when what is taken out changes, so that no cache mixes the two."""


async def retrieve_deidentified(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    transfer_syntax: str,
    known: Known = nothing_known,
) -> Answer:
    """Return an Instance de-identified, its pixels native, or in the lossless syntax that is named.

    A `transfer_syntax` that is empty or * is Explicit VR Little Endian, whatever is stored.

    Raises:
        Forbidden: `principal` may not download.
        NotFound: there is no such Instance, or `principal` may not see its Study.
        NotAcceptable: it cannot be de-identified, or not be made in this Transfer Syntax.
        InvalidDataset: its frames cannot be decoded.
        Unavailable: it cannot be read.
    """
    if Verb.DOWNLOAD not in principal.verbs:
        raise Forbidden("Downloading is not allowed to you")
    described = await describe(archive, principal, ref)
    check_can_be_deidentified(described)
    _check_frames(described)
    wanted = EXPLICIT_LITTLE_ENDIAN if transfer_syntax in {"", "*"} else transfer_syntax
    if wanted not in [uid async for uid in _offered(archive, principal, described, wanted)]:
        words = f"Anonymized, the Instance is not offered in {wanted}; nothing was sent"
        offered = [uid async for uid in _offered(archive, principal, described)]
        forms = [f"{APPLICATION_DICOM}; transfer-syntax={uid}" for uid in offered]
        raise NotAcceptable(words, forms)
    secret = await archive.objects.secret("deidentification")
    version = _version(described.place, wanted, secret)
    if known(version):
        return Answer(APPLICATION_DICOM, multipart=False, bodies=(), version=version)
    pieces, pixels = await _pieces(archive, principal, described, wanted)
    uids = (described.document.text("00080016"), ref.instance)
    redacted = _redacted(Redactor(uids, wanted, secret, pixels), pieces)
    headers = {"Content-Type": f"{APPLICATION_DICOM}; transfer-syntax={wanted}"}
    body = Body(headers, None, await begun(redacted))
    return Answer(APPLICATION_DICOM, multipart=False, bodies=[body], version=version)


def check_can_be_deidentified(described: Described) -> None:
    """Refuse what the profile cannot clean.

    Raises:
        NotAcceptable: the Instance cannot be de-identified.
    """
    why = why_not(described.document)
    if described.is_video:
        why = why or "what programs write into a video cannot be cleaned"
    if why:
        raise _refused(described, why)


def _refused(described: Described, why: str) -> NotAcceptable:
    uid = described.place.ref.instance
    return NotAcceptable(f"Instance {uid} cannot be anonymized: {why}; nothing was sent")


def _check_frames(described: Described) -> None:
    """Refuse pixels that cannot be told from what lies around them."""
    syntax = find(described.place.transfer_syntax_uid)
    if syntax is None:
        raise _refused(described, "its Transfer Syntax is not known")
    lengths = native_lengths(described.document)
    if PIXEL_DATA in lengths and syntax.encapsulated:
        if not syntax.decodable or not described.place.frame_count:
            raise _refused(described, "its frames cannot be decoded")
        del lengths[PIXEL_DATA]
    elif described.place.frame_kind is FrameKind.TABLE:
        raise _refused(described, "its frames are compressed, where its Transfer Syntax has none")
    if not all(lengths.values()):
        raise _refused(described, "nothing says how long its frames are")


async def _offered(
    archive: Archive, principal: Principal, described: Described, wanted: str = ""
) -> AsyncIterator[str]:
    """Yield the Transfer Syntaxes that its frames can be had in, or the `wanted` one if they can.

    They are made anew in any case, so none is lossy.
    """
    if wanted in {"", EXPLICIT_LITTLE_ENDIAN}:
        yield EXPLICIT_LITTLE_ENDIAN
    for target in targets():
        if (
            wanted in {"", target.uid}
            and not target.lossy
            and await is_encodable(archive, principal, described.place, target.uid)
        ):
            yield target.uid


def deidentified(subject: Subject) -> Subject:
    """Return what is shown without overlays and texts that may name the patient.

    Raises:
        NotAcceptable: the Instance cannot be de-identified, or is shown by a presentation state,
            whose annotations cannot.
    """
    described = subject.described
    check_can_be_deidentified(described)
    if subject.state is not None:
        raise NotAcceptable("A presentation state cannot be anonymized; nothing was sent")
    clean = replace(described, document=without_identity(described.document))
    return replace(subject, described=clean, deidentified=True)


def _version(place: InstancePlace, uid: str, secret: bytes) -> str:
    how = f"{RENDITION} {EDITION} {_REVISION} {uid} {hashlib.sha256(secret).hexdigest()}"
    return f"{place.sha256.hex()[:32]}-{hashlib.sha256(how.encode()).hexdigest()[:12]}-anonymized"


async def _pieces(
    archive: Archive, principal: Principal, described: Described, uid: str
) -> tuple[AsyncIterator[bytes], dict[int, int]]:
    """Return the Instance as the filter takes it, and how long its pixels are."""
    place, lengths = described.place, native_lengths(described.document)
    if uid != EXPLICIT_LITTLE_ENDIAN:
        return encoded_instance(archive, principal, place, uid), {PIXEL_DATA: MADE_HERE}
    syntax = find(place.transfer_syntax_uid)
    if syntax is not None and syntax.encapsulated and PIXEL_DATA in lengths:
        return decoded_instance(archive, principal, place), {PIXEL_DATA: MADE_HERE}
    source = await inflated_source(archive, place)
    return from_thread(rewritten(source, place.transfer_syntax_uid, archive.limits)), lengths


async def _redacted(redactor: Redactor, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield await asyncio.to_thread(redactor.feed, piece)
    yield redactor.finish()
