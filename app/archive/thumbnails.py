"""Thumbnails (PS3.18 §10.4.1.1.4): a small picture of what stands for a resource."""

from dataclasses import replace

from app.archive.context import Archive
from app.archive.described import Subject
from app.archive.offers import choose, picture_offers
from app.archive.presented import find_subject
from app.archive.render import Rendering, RenderRequest, alone, recalled
from app.dicom.uids import InstanceRef, Ref
from app.dicom.viewport import Viewport
from app.errors import Forbidden, NotFound
from app.index.described import find_representative
from app.index.places import InstancePlace
from app.rights import Principal, Verb

SIDE = 128
"""Pixels of a thumbnail's longer side, where no viewport is asked for."""


async def plan_thumbnail(
    archive: Archive, principal: Principal, ref: Ref, request: RenderRequest, number: int | None
) -> Rendering:
    """Plan the thumbnail of a frame (1-based); without one, of what stands for `ref`.

    That is the image in the middle of a Series, the Series with the most images of a Study, and
    the frame in the middle of an Instance.

    Raises:
        NotFound: there is no image, or `principal` may not see its Study.
        NotAcceptable: no picture in an accepted form can be made.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    if request.wanted.viewport is None:
        wanted = replace(request.wanted, viewport=Viewport(SIDE, SIDE))
        request = replace(request, wanted=wanted)
    if not isinstance(ref, InstanceRef):
        ref = await find_representative(archive.index, principal.scope, ref)
    image = ref

    async def plan(place: InstancePlace) -> Rendering:
        subject = await find_subject(archive, principal, image, place)
        described = subject.described
        frames = described.place.frame_count
        chosen = _middle(subject) if number is None else number
        if described.is_video or not 1 <= chosen <= frames:
            raise NotFound("An image of Instance", image.instance)
        subject = replace(subject, number=chosen)
        offers = picture_offers(archive, principal, subject, request.wanted)
        form, offer = choose(request.forms, offers, described)
        return alone(subject, request, form, offer)

    return await recalled(archive, principal, image, (("thumbnail", number), request), plan)


def _middle(subject: Subject) -> int:
    """Return the frame that stands for all: the one in the middle, or that of the state."""
    return subject.number if subject.state else subject.described.place.frame_count // 2 + 1
