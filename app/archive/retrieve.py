"""Retrieve transaction (PS3.18 §10.4): the Instances of a Study, a Series, or one.

Bytes go out as they are stored where the caller accepts that; else the Data Set is written anew as
it streams, its pixels copied, or decoded or encoded in worker processes. What is delivered how
depends on the stored Transfer Syntaxes, so that is settled first, by one query; of an Instance it
is the only one. Where frames may
have to be encoded it depends on each Instance's pixels, too: all are then looked at before the
first byte, since the status says whether any was left out.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

from app.archive.answers import Answer, Body, Known, ahead, begun, nothing_known, once
from app.archive.context import Archive
from app.archive.decoded import decoded_instance, from_thread
from app.archive.encoded import encoded_instance
from app.archive.frames import is_encodable
from app.archive.originals import lost, source_of, stream_stored
from app.dicom.delivery import APPLICATION_DICOM, Delivery, How, deliver_instance
from app.dicom.encodings import VERSION, targets
from app.dicom.recode import to_explicit_little_endian
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN
from app.dicom.uids import InstanceRef, Ref
from app.errors import Forbidden, InvalidDataset, NotAcceptable, NotFound
from app.index.names import name_instance
from app.index.places import InstancePlace, locate_instances
from app.index.stock import Stock, take_stock
from app.mime.media_types import Form
from app.rights import Principal, Verb
from app.turns import asker

RENDITION = "2"
"""Grows when our way of writing Data Sets anew changes, so that no cache mixes the two."""
AHEAD = 4
"""Instances that are read while the ones before them are sent."""

Candidates = Mapping[str, Sequence[Delivery]]
"""For each stored Transfer Syntax how its Instances may be delivered, the most wanted first."""


async def retrieve_instances(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    forms: Sequence[Form],
    known: Known = nothing_known,
) -> Answer:
    """Return the Instances in the first of the forms that any of them can be made in.

    Those that cannot be made in it are left out, and the answer is then not complete (W-11). A
    version that is `known` comes without bodies.

    Raises:
        Forbidden: `principal` may not download.
        NotFound: there is no such resource, or `principal` may not see its Study.
        NotAcceptable: no Instance can be made in any of the forms.
        Busy: too many are being sent already.
        Unavailable: the first Instance cannot be read.
    """
    if Verb.DOWNLOAD not in principal.verbs:
        raise Forbidden("Downloading is not allowed to you")
    if not isinstance(ref, InstanceRef):
        await asker().hold(archive.budgets.downloads)
    stock = await take_stock(archive.index, principal.scope, ref)
    locate = partial(_places, archive, principal, ref, stock)
    single = isinstance(ref, InstanceRef)
    for form in forms:
        if not (form.multipart or single or form.media_type == "*/*"):
            continue  # one body holds one Instance (M-12)
        candidates = {uid: deliver_instance(form, uid) for uid in stock.transfer_syntax_uids}
        some, complete = await _survey(archive, principal, candidates, locate)
        if some:
            break
    else:
        raise await _not_acceptable(archive, principal, stock.place)
    multipart = form.multipart or form.media_type == "*/*"
    version = _version(stock, form)
    if known(version):
        return Answer(APPLICATION_DICOM, multipart, (), complete, version)
    wanted = _deliverable(archive, principal, await locate(), candidates)
    if single:
        bodies: Sequence[Body] | AsyncIterator[Body] = [
            await open_instance(archive, principal, *await anext(wanted))
        ]
    else:
        bodies = await begun(
            ahead(wanted, lambda one: open_instance(archive, principal, *one), AHEAD)
        )
    return Answer(APPLICATION_DICOM, multipart, bodies, complete, version)


async def _places(
    archive: Archive, principal: Principal, ref: Ref, stock: Stock
) -> AsyncIterator[InstancePlace]:
    if stock.place is not None:
        return once(stock.place)
    return await locate_instances(archive.index, principal.scope, ref)


def _version(stock: Stock, form: Form) -> str:
    """Return what changes with the Instances and with how they are delivered."""
    how = "\n".join((RENDITION, str(VERSION), *form.transfer_syntaxes))
    digest = hashlib.sha256(how.encode()).hexdigest()[:12]
    return f"{stock.version}-{digest}"


async def find_instance(
    archive: Archive, principal: Principal, sop_instance_uid: str
) -> InstanceRef:
    """Return the whole reference of an Instance of which only its own UID is known.

    Raises:
        Forbidden: `principal` may not view.
        NotFound: there is no such Instance, or `principal` may not see its Study.
        Gone: there was one.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    return await name_instance(archive.index, principal.scope, sop_instance_uid)


async def _survey(
    archive: Archive,
    principal: Principal,
    candidates: Candidates,
    locate: Callable[[], Awaitable[AsyncIterator[InstancePlace]]],
) -> tuple[bool, bool]:
    """Say whether some Instance can be delivered, and whether all can."""
    rows = candidates.values()
    if not any(row and row[0].how is How.ENCODED for row in rows):
        return any(rows), all(rows)
    some, every = False, True
    places = await locate()
    async for delivery in ahead(
        places, lambda place: _pick(archive, principal, place, candidates), AHEAD
    ):
        some, every = some or delivery is not None, every and delivery is not None
    return some, every


async def _pick(
    archive: Archive, principal: Principal, place: InstancePlace, candidates: Candidates
) -> Delivery | None:
    for delivery in candidates.get(place.transfer_syntax_uid, ()):
        if delivery.how is not How.ENCODED or await is_encodable(
            archive, principal, place, delivery.transfer_syntax_uid
        ):
            return delivery
    return None


async def _deliverable(
    archive: Archive,
    principal: Principal,
    places: AsyncIterator[InstancePlace],
    candidates: Candidates,
) -> AsyncIterator[tuple[InstancePlace, Delivery]]:
    async for place in places:
        delivery = await _pick(archive, principal, place, candidates)
        if delivery is not None:
            yield place, delivery


async def _not_acceptable(
    archive: Archive, principal: Principal, place: InstancePlace | None
) -> NotAcceptable:
    """Return the error that lists what could be had; of one Instance, in which syntaxes (M-07)."""
    offered = [f'multipart/related; type="{APPLICATION_DICOM}"; transfer-syntax=*']
    if place is not None:
        offered.append(APPLICATION_DICOM)
        for uid in (EXPLICIT_LITTLE_ENDIAN, *(target.uid for target in targets())):
            form = Form(APPLICATION_DICOM, multipart=False, transfer_syntaxes=(uid,))
            candidates = {
                place.transfer_syntax_uid: deliver_instance(form, place.transfer_syntax_uid)
            }
            if await _pick(archive, principal, place, candidates) is not None:
                offered.append(f"{APPLICATION_DICOM}; transfer-syntax={uid}")
    return NotAcceptable("The Instances are not offered in any form that was asked for", offered)


async def open_instance(
    archive: Archive, principal: Principal, place: InstancePlace, delivery: Delivery
) -> Body:
    """Return the body of one Instance in one way of delivery, its first block read.

    Raises:
        InvalidDataset: what is stored cannot be written anew, or its pixels not be decoded.
        Unavailable: the bytes cannot be read.
    """
    headers = {
        "Content-Type": f"{APPLICATION_DICOM}; transfer-syntax={delivery.transfer_syntax_uid}"
    }
    try:
        if delivery.how is How.STORED:
            section = partial(stream_stored, archive, place)
            chunks = await section(0, place.size)
            return Body(headers, place.size, chunks, section, place.ref)
        if delivery.how is How.REWRITTEN:
            uid, limits = place.transfer_syntax_uid, archive.limits
            rewritten = to_explicit_little_endian(source_of(archive, place), uid, limits)
            return Body(headers, None, await begun(from_thread(rewritten)), ref=place.ref)
        if delivery.how is How.ENCODED:
            uid = delivery.transfer_syntax_uid
            pieces = encoded_instance(archive, principal, place, uid)
        else:
            pieces = decoded_instance(archive, principal, place)
        return Body(headers, None, await begun(pieces), ref=place.ref)
    except NotFound as error:
        raise lost(place) from error
    except InvalidDataset as error:
        words = f"Instance {place.ref.instance}: {error}"
        raise InvalidDataset(words, error.reason) from error
