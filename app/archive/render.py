"""Rendered resources (PS3.18 §10.4.1.1.3): pictures of images, documents as they are, reports.

An Instance offers some media types, the default first; what the caller accepts chooses one. An
answer is planned first, which takes look-ups alone and gives its ETag, and made when it is opened.
What is made depends on stored bytes and parameters only, so an ETag holds for ever.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from app.archive.answers import Answer, Body, ahead, each
from app.archive.context import Archive
from app.archive.described import Described, describe
from app.archive.rendered_documents import (
    REPORTS,
    document_body,
    document_type,
    is_report,
    report_body,
    video_body,
    video_type,
)
from app.archive.rendered_images import picture_body, picture_of
from app.dicom.appearance import frame_seconds
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.pictures import FORMATS, GIF, RENDERING_VERSION, Wanted, animated
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Forbidden, InvalidDataset, NotAcceptable, NotFound
from app.index.places import locate_instances, locate_version
from app.mime.media_types import Form, covers
from app.rights import Principal, Verb

_Value = TypeVar("_Value")
AHEAD = 2
"""Pictures that are made while the ones before them are sent."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What is accepted, most wanted first, and how pictures are to be made.

    `annotations` are names of groups of text, of `patient` and `technique`.
    """

    forms: Sequence[Form]
    wanted: Wanted = field(default_factory=Wanted)
    annotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendering:
    """An answer that is planned; `open` makes it, and may raise InvalidDataset or Unavailable."""

    etag: str
    open: Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Offer:
    """One way in which an Instance can be rendered."""

    media_type: str
    open: Callable[[], Awaitable[Body]]


async def plan_instance(
    archive: Archive, principal: Principal, ref: InstanceRef, request: RenderRequest
) -> Rendering:
    """Plan an Instance: an image of several frames as an animation, as all frames, or as one.

    A GIF is an animation. Where a multipart is asked for it has all frames, one a part; else the
    picture is that of the representative frame.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
        NotAcceptable: the Instance is rendered in nothing that is accepted.
    """
    described = await describe(archive, principal, ref)
    number = representative_frame(described)
    offers = offers_of(archive, principal, described, request.wanted, number)
    form, offer = choose(request.forms, offers, described)
    frames = described.place.frame_count
    several = form.multipart and frames > 1 and offer.media_type in FORMATS
    if several and offer.media_type != GIF:
        return _frames(archive, principal, described, range(1, frames + 1), request, offer)

    async def opened() -> Answer:
        return Answer(offer.media_type, form.multipart, [await offer.open()])

    return Rendering(tag_of(described, (number,), request, offer, form), opened)


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
    described = await describe(archive, principal, ref)
    for number in numbers:
        if not 1 <= number <= described.place.frame_count:
            raise NotFound("Frame", f"{number} of Instance {ref.instance}")
    offers = (
        []
        if described.is_video
        else picture_offers(archive, principal, described, request.wanted, numbers[0])
    )
    form, offer = choose(request.forms, offers, described)
    if len(numbers) > 1 or form.multipart:
        return _frames(archive, principal, described, numbers, request, offer)

    async def opened() -> Answer:
        return Answer(offer.media_type, multipart=False, bodies=[await offer.open()])

    return Rendering(tag_of(described, numbers, request, offer, form), opened)


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
        return Answer(media_type, multipart=True, bodies=_after(first, bodies))

    return Rendering(_tag(version, request), opened)


async def plan_object(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    number: int | None,
    request: RenderRequest,
) -> Rendering | None:
    """Plan an Instance for the URI service, one body; None if it is to be sent as DICOM.

    `number` is that of a frame; without one an image of several frames is its representative one.
    DICOM is the last of what is offered, so it is the default of what cannot be rendered.

    Raises:
        NotFound: there is no such Instance or frame, or `principal` may not see its Study.
        NotAcceptable: the Instance is sent in nothing that is accepted.
    """
    described = await describe(archive, principal, ref)
    shown = representative_frame(described) if number is None else number
    offers = offers_of(archive, principal, described, request.wanted, shown)
    if number is not None and any(offer.media_type in FORMATS for offer in offers):
        offers = picture_offers(archive, principal, described, request.wanted, shown)
    fitting = _first_fitting(request.forms, [*_types(offers), APPLICATION_DICOM])
    if fitting is not None and fitting[1] == APPLICATION_DICOM:
        return None
    form, offer = choose(request.forms, offers, described, APPLICATION_DICOM)
    if offer.media_type in FORMATS and not 1 <= shown <= described.place.frame_count:
        raise NotFound("Frame", f"{shown} of Instance {ref.instance}")

    async def opened() -> Answer:
        return Answer(offer.media_type, multipart=False, bodies=[await offer.open()])

    return Rendering(tag_of(described, (shown,), request, offer, form), opened)


def representative_frame(described: Described) -> int:
    """Return the number of the frame that stands for all, as the Instance says; or the first."""
    number = described.document.integer("00286010", 1)
    return number if 1 <= number <= described.place.frame_count else 1


def offers_of(
    archive: Archive, principal: Principal, described: Described, wanted: Wanted, number: int
) -> list[Offer]:
    """Return how an Instance can be rendered, the default first; nothing if it cannot be."""
    media_type = document_type(described)
    if media_type is not None:
        return [Offer(media_type, partial(document_body, archive, described))]
    if is_report(described):
        return [Offer(kind, partial(report_body, described, kind)) for kind in REPORTS]
    if described.place.frame_count == 0:
        return []
    if described.is_video:
        opened = partial(video_body, archive, principal, described)
        return [Offer(video_type(described), opened)]
    offers = picture_offers(archive, principal, described, wanted, number)
    if described.place.frame_count > 1:
        moving = Offer(GIF, partial(_animation, archive, principal, described, wanted))
        offers = [moving if offer.media_type == GIF else offer for offer in offers]
    return offers


def picture_offers(
    archive: Archive, principal: Principal, described: Described, wanted: Wanted, number: int
) -> list[Offer]:
    """Return the kinds of pictures of one frame, the default first."""
    return [
        Offer(
            kind,
            partial(
                picture_body,
                archive,
                principal,
                described,
                number,
                replace(wanted, media_type=kind),
            ),
        )
        for kind in FORMATS
    ]


def choose(
    forms: Sequence[Form], offers: Sequence[Offer], described: Described, *others: str
) -> tuple[Form, Offer]:
    """Return the first form that something offered fits, and the first such offer.

    Raises:
        NotAcceptable: nothing fits; `others` are what else is offered.
    """
    fitting = _first_fitting(forms, _types(offers))
    if fitting is not None:
        form, media_type = fitting
        return form, next(offer for offer in offers if offer.media_type == media_type)
    uid = described.place.ref.instance
    if not offers:
        raise NotAcceptable(f"Instance {uid} is nothing that can be rendered", others)
    offered = [*_types(offers), *others]
    raise NotAcceptable(f"Instance {uid} is not rendered in any form that is accepted", offered)


def _types(offers: Sequence[Offer]) -> list[str]:
    return [offer.media_type for offer in offers]


def _first_fitting(forms: Sequence[Form], media_types: Sequence[str]) -> tuple[Form, str] | None:
    for form in forms:
        for media_type in media_types:
            if covers(form.media_type, media_type):
                return form, media_type
    return None


def _frames(
    archive: Archive,
    principal: Principal,
    described: Described,
    numbers: Sequence[int],
    request: RenderRequest,
    offer: Offer,
) -> Rendering:
    wanted = replace(request.wanted, media_type=offer.media_type)

    async def opened() -> Answer:
        bodies = ahead(
            each(numbers),
            lambda number: picture_body(archive, principal, described, number, wanted),
            AHEAD,
        )
        first = await anext(bodies)
        return Answer(offer.media_type, multipart=True, bodies=_after(first, bodies))

    form = Form(offer.media_type, multipart=True)
    return Rendering(tag_of(described, tuple(numbers), request, offer, form), opened)


async def _animation(
    archive: Archive, principal: Principal, described: Described, wanted: Wanted
) -> Body:
    wanted = replace(wanted, media_type=GIF)
    pictures = ahead(
        each(range(1, described.place.frame_count + 1)),
        lambda number: picture_of(archive, principal, described, number, wanted),
        AHEAD,
    )
    first = await anext(pictures)
    shown = animated(_after(first, pictures), frame_seconds(described.document))
    return Body({"Content-Type": GIF}, None, shown)


async def _each_rendered(
    archive: Archive, principal: Principal, ref: StudyRef | SeriesRef, request: RenderRequest
) -> AsyncIterator[Body]:
    async def rendered(one: InstanceRef) -> Body | None:
        try:
            described = await describe(archive, principal, one)
            number = representative_frame(described)
            offers = offers_of(archive, principal, described, request.wanted, number)
            return await choose(request.forms, offers, described)[1].open()
        except (NotAcceptable, InvalidDataset, NotFound):
            return None

    places = await locate_instances(archive.index, principal.scope, ref)
    refs = (place.ref async for place in places)
    async for body in ahead(refs, rendered, AHEAD):
        if body is not None:
            yield body


async def _after(first: _Value, rest: AsyncIterator[_Value]) -> AsyncIterator[_Value]:
    yield first
    async for value in rest:
        yield value


def tag_of(
    described: Described,
    numbers: Sequence[int],
    request: RenderRequest,
    offer: Offer,
    form: Form,
) -> str:
    """Return the ETag of a picture, document or report: of its bytes and how it is made."""
    made_of = (described.place.sha256.hex(), tuple(numbers), offer.media_type, form.multipart)
    return _tag(repr(made_of), replace(request, forms=()))


def _tag(made_of: str, request: RenderRequest) -> str:
    key = f"{RENDERING_VERSION} {made_of} {request!r}"
    return f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
