"""Rendered resources (PS3.18 §10.4.1.1.3): pictures of images, documents as they are, reports.

An Instance offers some media types, the default first; what the caller accepts chooses one. An
answer is planned first, which takes look-ups alone and gives its ETag, and made when it is opened.
What is made depends on stored bytes and parameters only, so an ETag holds for ever.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

from app.archive.answers import Answer, Body, after, ahead, begun, each
from app.archive.context import Archive
from app.archive.deidentified import deidentified
from app.archive.described import Subject, describe
from app.archive.known_pictures import Known
from app.archive.offers import Offer, choose, first_fitting, offers_of, picture_offers, types_of
from app.archive.presented import find_subject, with_segmentation, with_state
from app.archive.rendered_images import known_body, picture_body, picture_name
from app.dicom.annotations import annotation_lines
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.pictures import FORMATS, GIF, RENDERING_VERSION, Wanted
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Forbidden, InvalidDataset, NotAcceptable, NotFound
from app.index.frames import no_frame
from app.index.places import InstancePlace, locate_instances, locate_version
from app.mime.media_types import Form
from app.rights import Principal, Verb

AHEAD = 2
"""Pictures that are made while the ones before them are sent."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What is accepted, most wanted first, and how pictures are to be made.

    `annotations` are names of groups of text, of `patient` and `technique`; `segmentation` is the
    SOP Instance UID of one to be drawn over images, or empty.
    """

    forms: Sequence[Form]
    wanted: Wanted = field(default_factory=Wanted)
    annotations: tuple[str, ...] = ()
    segmentation: str = ""
    deidentified: bool = False
    """Nothing that may name the patient is shown."""

    def wanted_of(self, subject: Subject) -> Wanted:
        """Return how a picture of a frame is made, the text to be written over it found."""
        if not self.annotations:
            return self.wanted
        lines = annotation_lines(subject.described.document, self.annotations)
        return replace(self.wanted, annotation=lines)


@dataclass(frozen=True, slots=True)
class Rendering:
    """An answer that is planned; `open` makes it, and may raise InvalidDataset or Unavailable."""

    etag: str
    open: Callable[[], Awaitable[Answer]]
    known: Known | None = None
    """What it is, if it is one picture that follows from an Instance's own bytes."""


async def locate_viewed(archive: Archive, principal: Principal, ref: InstanceRef) -> InstancePlace:
    """Return where an Instance lies that is to be seen.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    return (await archive.leases.locate(principal.scope, ref, ())).instance


async def recalled(
    archive: Archive,
    place: InstancePlace,
    asked: tuple[Hashable, RenderRequest],
    plan: Callable[[InstancePlace], Awaitable[Rendering]],
) -> Rendering:
    """Return what was learnt of the same request for an Instance of the same bytes, or `plan` it.

    That the Instance may be seen was looked up with `place`.
    """
    resource, request = asked
    if request.segmentation or request.deidentified:  # what is shown is not this Instance alone
        return await plan(place)
    key = (place.sha256, resource, tuple(request.forms), request.wanted, request.annotations)
    known = archive.pictures.find(key)
    if known is None:
        rendering = await plan(place)
        if rendering.known is not None:
            archive.pictures.learn(key, rendering.known)
        return rendering

    async def opened() -> Answer:
        body = await known_body(archive, known)
        if body is None:
            return await (await plan(place)).open()
        return Answer(known.media_type, known.multipart, [body])

    return Rendering(known.etag, opened)


async def plan_instance(
    archive: Archive, principal: Principal, ref: InstanceRef, request: RenderRequest
) -> Rendering:
    """Plan an Instance: an image of several frames as an animation, as all frames, or as one.

    A GIF is an animation. Where a multipart is asked for it has all frames, one a part; else the
    picture is that of the representative frame. A presentation state is the image that it is for.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
        NotAcceptable: the Instance is rendered in nothing that is accepted.
    """

    async def plan(place: InstancePlace | None) -> Rendering:
        subject = await find_subject(archive, principal, ref, place)
        subject = await with_segmentation(archive, principal, subject, request.segmentation)
        offers = offers_of(archive, principal, subject, request.wanted_of(subject))
        form, offer = choose(request.forms, offers, subject.described)
        frames = subject.described.place.frame_count
        several = form.multipart and frames > 1 and offer.media_type in FORMATS
        if several and offer.media_type != GIF and subject.state is None:
            return _frames(archive, principal, subject, range(1, frames + 1), request, offer)
        return alone(subject, request, form, offer)

    located = await locate_viewed(archive, principal, ref)
    return await recalled(archive, located, ("instance", request), plan)


async def plan_frames(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    numbers: Sequence[int],
    request: RenderRequest,
) -> Rendering:
    """Plan frames (1-based) of an image; several are one a part.

    Raises:
        NotFound: there is no such Instance or frame, or `principal` may not see its Study.
        NotAcceptable: they are rendered in nothing that is accepted.
    """

    async def plan(place: InstancePlace | None) -> Rendering:
        described = await describe(archive, principal, ref, place)
        for number in numbers:
            if not 1 <= number <= described.place.frame_count:
                raise no_frame(number, described.place)
        subject = Subject(described, numbers[0])
        subject = await with_segmentation(archive, principal, subject, request.segmentation)
        wanted = request.wanted_of(subject)
        offers = [] if described.is_video else picture_offers(archive, principal, subject, wanted)
        form, offer = choose(request.forms, offers, described)
        if len(numbers) > 1:
            return _frames(archive, principal, subject, numbers, request, offer)
        return alone(subject, request, form, offer)

    if len(numbers) > 1:
        return await plan(None)
    located = await locate_viewed(archive, principal, ref)
    return await recalled(archive, located, (numbers[0], request), plan)


async def plan_many(
    archive: Archive, principal: Principal, ref: StudyRef | SeriesRef, request: RenderRequest
) -> Rendering:
    """Plan all Instances of a Study or Series, one a part; those that cannot be are left out.

    Raises:
        NotFound: there is no such resource, or `principal` may not see its Study.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    version = await locate_version(archive.index, principal.scope, ref)

    async def opened() -> Answer:
        bodies = _each_rendered(archive, principal, ref, request)
        first = await anext(bodies, None)
        if first is None:
            raise NotAcceptable("Nothing here is rendered in a form that is accepted", FORMATS)
        media_type = first.headers["Content-Type"].partition(";")[0]
        return Answer(media_type, multipart=True, bodies=after(first, bodies))

    return Rendering(_tag(version, request), opened)


async def plan_object(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    number: int | None,
    state: InstanceRef | None,
    request: RenderRequest,
) -> Rendering | None:
    """Plan an Instance for the URI service, one body; None if it is to be sent as DICOM.

    `number` is that of a frame; without one an image of several frames is its representative one.
    `state` is a presentation state to show it by. DICOM is the last of what is offered, so it is
    the default of what cannot be rendered.

    Raises:
        NotFound: there is no such Instance or frame, or `principal` may not see its Study.
        InvalidRequest: the presentation state is not for this image.
        NotAcceptable: the Instance is sent in nothing that is accepted, or cannot be
            de-identified where that is asked for.
    """
    subject = await find_subject(archive, principal, ref)
    if state is not None:
        subject = await with_state(archive, principal, subject, state)
    if request.deidentified and not _is_dicom_first(request):
        subject = deidentified(subject)
    offers = offers_of(archive, principal, subject, request.wanted_of(subject))
    if number is not None and any(offer.media_type in FORMATS for offer in offers):
        subject = replace(subject, number=number)
        offers = picture_offers(archive, principal, subject, request.wanted_of(subject))
    fitting = first_fitting(request.forms, [*types_of(offers), APPLICATION_DICOM])
    if fitting is not None and fitting[1] == APPLICATION_DICOM:
        return None
    form, offer = choose(request.forms, offers, subject.described, APPLICATION_DICOM)
    shown, frames = subject.number, subject.described.place.frame_count
    if offer.media_type in FORMATS and not 1 <= shown <= frames:
        raise no_frame(shown, subject.described.place)
    return alone(subject, request, form, offer)


def _is_dicom_first(request: RenderRequest) -> bool:
    return [form.media_type for form in request.forms[:1]] == [APPLICATION_DICOM]


def alone(subject: Subject, request: RenderRequest, form: Form, offer: Offer) -> Rendering:
    """Return what has one body: a picture, document or report."""

    async def opened() -> Answer:
        return Answer(offer.media_type, form.multipart, [await offer.open()])

    etag, known = _tag_of(subject, [subject.number], request, form, offer), None
    if offer.picture is not None and not (subject.state or subject.segmentation):
        name = picture_name(subject, offer.picture)
        known = Known(name, offer.media_type, form.multipart, etag)
    return Rendering(etag, opened, known)


def _frames(
    archive: Archive,
    principal: Principal,
    subject: Subject,
    numbers: Sequence[int],
    request: RenderRequest,
    offer: Offer,
) -> Rendering:
    wanted = replace(request.wanted_of(subject), media_type=offer.media_type)

    async def opened() -> Answer:
        bodies = ahead(
            each(numbers),
            lambda number: picture_body(
                archive, principal, replace(subject, number=number), wanted
            ),
            AHEAD,
        )
        return Answer(offer.media_type, multipart=True, bodies=await begun(bodies))

    form = Form(offer.media_type, multipart=True)
    return Rendering(_tag_of(subject, numbers, request, form, offer), opened)


async def _each_rendered(
    archive: Archive, principal: Principal, ref: StudyRef | SeriesRef, request: RenderRequest
) -> AsyncIterator[Body]:
    async def rendered(one: InstanceRef) -> Body | None:
        try:
            subject = await find_subject(archive, principal, one)
            offers = offers_of(archive, principal, subject, request.wanted_of(subject))
            return await choose(request.forms, offers, subject.described)[1].open()
        except (NotAcceptable, InvalidDataset, NotFound):
            return None

    places = await locate_instances(archive.index, principal.scope, ref)
    refs = (place.ref async for place in places)
    async for body in ahead(refs, rendered, AHEAD):
        if body is not None:
            yield body


def _tag_of(
    subject: Subject, numbers: Sequence[int], request: RenderRequest, form: Form, offer: Offer
) -> str:
    """Return the ETag of a picture, document or report: of its bytes and how it is made."""
    made_of = (subject.digests, tuple(numbers), offer.media_type, form.multipart)
    return _tag(repr(made_of), replace(request, forms=()))


def _tag(made_of: str, request: RenderRequest) -> str:
    key = f"{RENDERING_VERSION} {made_of} {request!r}"
    return f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
