"""Thumbnails (PS3.18 §10.4.1.1.4): a small picture of what stands for a resource."""

from collections.abc import Sequence
from dataclasses import replace

from app.archive.answers import Answer
from app.archive.context import Archive
from app.archive.described import Subject
from app.archive.offers import choose, picture_offers
from app.archive.presented import find_subject
from app.archive.render import Rendering, RenderRequest, alone, locate_viewed, recalled
from app.dicom.uids import InstanceRef, Ref
from app.dicom.viewport import Viewport
from app.errors import Forbidden, InvalidDataset, NotFound
from app.index.described import list_representatives
from app.index.places import InstancePlace
from app.rights import Principal, Verb

SIDE = 128
"""Pixels of a thumbnail's longer side, where no viewport is asked for."""


async def plan_thumbnail(
    archive: Archive, principal: Principal, ref: Ref, request: RenderRequest, number: int | None
) -> Rendering:
    """Plan the thumbnail of a frame (1-based); without one, of what stands for `ref`.

    That is the image in the middle of a Series, the Series with the most images of a Study, and
    the frame in the middle of an Instance. An image that turns out to be damaged stands for
    nothing but itself: the next one is taken.

    Raises:
        NotFound: there is no image, or `principal` may not see its Study.
        NotAcceptable: no picture in an accepted form can be made.
    """
    if request.wanted.viewport is None:
        wanted = replace(request.wanted, viewport=Viewport(SIDE, SIDE))
        request = replace(request, wanted=wanted)
    if isinstance(ref, InstanceRef):
        place = await locate_viewed(archive, principal, ref)
        return await _plan_image(archive, principal, place, request, number)
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    places = await list_representatives(archive.index, principal.scope, ref)
    sound = [place for place in places if not archive.pictures.is_damaged(place)]
    return await _plan_first(archive, principal, sound or places, request)


async def _plan_first(
    archive: Archive, principal: Principal, places: Sequence[InstancePlace], request: RenderRequest
) -> Rendering:
    """Plan the first of some images; where it is damaged, the next one is made instead of it."""
    place, *others = places
    rendering = await _plan_image(archive, principal, place, request, None)
    if not others:
        return rendering

    async def opened() -> Answer:
        try:
            return await rendering.open()
        except InvalidDataset:
            archive.pictures.learn_damaged(place)
        other = await _plan_first(archive, principal, others, request)
        answer = await other.open()
        return replace(answer, version=answer.version or other.etag.strip('"'))

    return replace(rendering, open=opened)


async def _plan_image(
    archive: Archive,
    principal: Principal,
    place: InstancePlace,
    request: RenderRequest,
    number: int | None,
) -> Rendering:
    async def plan(place: InstancePlace) -> Rendering:
        subject = await find_subject(archive, principal, place.ref, place)
        described = subject.described
        chosen = _middle(subject) if number is None else number
        if described.is_video or not 1 <= chosen <= described.place.frame_count:
            raise NotFound("An image of Instance", place.ref.instance)
        subject = replace(subject, number=chosen)
        offers = picture_offers(archive, principal, subject, request.wanted)
        form, offer = choose(request.forms, offers, described)
        return alone(subject, request, form, offer)

    return await recalled(archive, place, (("thumbnail", number), request), plan)


def _middle(subject: Subject) -> int:
    """Return the frame that stands for all: the one in the middle, or that of the state."""
    return subject.number if subject.state else subject.described.place.frame_count // 2 + 1
