"""An Instance handed out without the identity of its patient (PS3.18 §9.4.1.2.1, PS3.15 Annex E).

It is delivered as `retrieve` would, through a filter; what cannot be cleaned is refused before.
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
from app.archive.originals import inflated_source
from app.archive.retrieve import RENDITION, choose_delivery
from app.dicom.confidentiality import EDITION, why_not, without_identity
from app.dicom.deidentify import Redactor
from app.dicom.delivery import APPLICATION_DICOM, Delivery, How
from app.dicom.recode import rewritten, written_syntax
from app.dicom.uids import InstanceRef
from app.errors import NotAcceptable
from app.index.places import InstancePlace
from app.mime.media_types import Form
from app.rights import Principal


async def retrieve_deidentified(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    form: Form,
    known: Known = nothing_known,
) -> Answer:
    """Return an Instance de-identified, in the first Transfer Syntax of `form` that it is had in.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
        NotAcceptable: it cannot be de-identified, or not be made in this Transfer Syntax.
        Unavailable: it cannot be read.
    """
    described = await describe(archive, principal, ref)
    check_can_be_deidentified(described)
    delivery = await choose_delivery(archive, principal, described.place, form)
    secret = await archive.objects.secret("deidentification")
    version = _version(described.place, delivery, secret)
    if known(version):
        return Answer(APPLICATION_DICOM, multipart=False, bodies=(), version=version)
    pieces, uid = await _pieces(archive, principal, described, delivery)
    uids = (described.document.text("00080016"), ref.instance)
    redacted = _redacted(Redactor(uids, uid, secret), pieces)
    headers = {"Content-Type": f"{APPLICATION_DICOM}; transfer-syntax={uid}"}
    body = Body(headers, None, await begun(redacted))
    return Answer(APPLICATION_DICOM, multipart=False, bodies=[body], version=version)


def check_can_be_deidentified(described: Described) -> None:
    """Refuse what the profile cannot clean.

    Raises:
        NotAcceptable: the Instance cannot be de-identified.
    """
    why = why_not(described.document)
    if why:
        uid = described.place.ref.instance
        raise NotAcceptable(f"Instance {uid} cannot be anonymized: {why}; nothing was sent")


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


def _version(place: InstancePlace, delivery: Delivery, secret: bytes) -> str:
    how = f"{RENDITION} {EDITION} {delivery} {hashlib.sha256(secret).hexdigest()}"
    return f"{place.sha256.hex()[:32]}-{hashlib.sha256(how.encode()).hexdigest()[:12]}-anonymized"


async def _pieces(
    archive: Archive, principal: Principal, described: Described, delivery: Delivery
) -> tuple[AsyncIterator[bytes], str]:
    """Return the Instance as the filter takes it, and its Transfer Syntax."""
    place, uid = described.place, delivery.transfer_syntax_uid
    if delivery.how is How.ENCODED:
        return encoded_instance(archive, principal, place, uid), uid
    if delivery.how is How.DECODED and "7FE00010" in described.document.members:
        return decoded_instance(archive, principal, place), uid
    written = rewritten(
        await inflated_source(archive, place), place.transfer_syntax_uid, archive.limits
    )
    decoded = delivery.how is How.DECODED  # there are no pixels
    return from_thread(written), uid if decoded else written_syntax(place.transfer_syntax_uid)


async def _redacted(redactor: Redactor, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield await asyncio.to_thread(redactor.feed, piece)
    yield redactor.finish()
