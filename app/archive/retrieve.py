"""Retrieve transaction (PS3.18 §10.4): the Instances of a Study, a Series, or one.

Bytes go out as they are stored where the caller accepts that; else the Data Set is written anew in
Explicit VR Little Endian as it streams, its pixels copied, or decoded in worker processes. What is
delivered how depends on the stored Transfer Syntaxes alone, so that is settled first, by one query.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from app.archive.answers import Answer, Body, Known, ahead, begun, nothing_known
from app.archive.context import Archive
from app.archive.decoded import decoded_instance, from_thread
from app.archive.originals import lost, source_of
from app.dicom.delivery import APPLICATION_DICOM, Delivery, How, deliver_instance
from app.dicom.recode import to_explicit_little_endian
from app.dicom.uids import InstanceRef, Ref
from app.errors import Forbidden, NotAcceptable, NotFound
from app.index.names import name_instance
from app.index.places import InstancePlace, locate_instances, locate_version
from app.index.syntaxes import list_syntaxes
from app.mime.media_types import Form
from app.rights import Principal, Verb

RENDITION = "1"
"""Grows when our way of writing Data Sets anew changes, so that no cache mixes the two."""
AHEAD = 4
"""Instances that are read while the ones before them are sent."""

Deliveries = Mapping[str, Delivery | None]


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
        NotFound: there is no such resource, or `principal` may not see its Study.
        NotAcceptable: no Instance can be made in any of the forms.
        Unavailable: the first Instance cannot be read.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    syntaxes = await list_syntaxes(archive.index, principal.scope, ref)
    form, deliveries = _choose(forms, syntaxes, single=isinstance(ref, InstanceRef))
    multipart = form.multipart or form.media_type == "*/*"
    version = await _version(archive, principal, ref, deliveries)
    complete = None not in deliveries.values()
    if known(version):
        return Answer(APPLICATION_DICOM, multipart, (), complete, version)
    places = await locate_instances(archive.index, principal.scope, ref)
    wanted = (place async for place in places if deliveries.get(place.transfer_syntax_uid))
    if isinstance(ref, InstanceRef):
        bodies: Sequence[Body] | AsyncIterator[Body] = [
            await _open(archive, principal, await anext(wanted), deliveries)
        ]
    else:
        bodies = await begun(
            ahead(wanted, lambda place: _open(archive, principal, place, deliveries), AHEAD)
        )
    return Answer(APPLICATION_DICOM, multipart, bodies, complete, version)


async def _version(archive: Archive, principal: Principal, ref: Ref, deliveries: Deliveries) -> str:
    """Return what changes with the Instances and with how they are delivered."""
    how = sorted(f"{uid} {made and made.transfer_syntax_uid}" for uid, made in deliveries.items())
    digest = hashlib.sha256("\n".join((RENDITION, *how)).encode()).hexdigest()[:12]
    return f"{await locate_version(archive.index, principal.scope, ref)}-{digest}"


async def find_instance(
    archive: Archive, principal: Principal, sop_instance_uid: str
) -> InstanceRef:
    """Return the whole reference of an Instance of which only its own UID is known.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
    """
    return await name_instance(archive.index, principal.scope, sop_instance_uid)


def _choose(
    forms: Sequence[Form], syntaxes: frozenset[str], *, single: bool
) -> tuple[Form, Deliveries]:
    for form in forms:
        if not (form.multipart or single or form.media_type == "*/*"):
            continue  # one body holds one Instance (M-12)
        deliveries = {uid: deliver_instance(form, uid) for uid in syntaxes}
        if any(deliveries.values()):
            return form, deliveries
    offered = [f'multipart/related; type="{APPLICATION_DICOM}"; transfer-syntax=*']
    offered += [APPLICATION_DICOM] if single else []
    raise NotAcceptable("The Instances are not offered in any form that was asked for", offered)


async def _open(
    archive: Archive, principal: Principal, place: InstancePlace, deliveries: Deliveries
) -> Body:
    """Return the body of one Instance, its first block read."""
    delivery = deliveries[place.transfer_syntax_uid]
    assert delivery is not None  # noqa: S101 - others were left out
    headers = {
        "Content-Type": f"{APPLICATION_DICOM}; transfer-syntax={delivery.transfer_syntax_uid}"
    }
    try:
        if delivery.how is How.STORED:
            section = partial(_stored, archive, place)
            chunks = await section(0, place.size)
            return Body(headers, place.size, chunks, section, place.ref)
        if delivery.how is How.REWRITTEN:
            uid, limits = place.transfer_syntax_uid, archive.limits
            pieces = to_explicit_little_endian(source_of(archive, place), uid, limits)
            return Body(headers, None, await begun(from_thread(pieces)), ref=place.ref)
        decoded = await begun(decoded_instance(archive, principal, place))
        return Body(headers, None, decoded, ref=place.ref)
    except NotFound as error:
        raise lost(place) from error


async def _stored(
    archive: Archive, place: InstancePlace, offset: int, length: int
) -> AsyncIterator[bytes]:
    return await archive.objects.stream(place.object_key, place.base_offset + offset, length)
