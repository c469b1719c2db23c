"""In which forms an Instance can be rendered, the default first; and which of them is chosen."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.archive.answers import Body, ahead, each
from app.archive.context import Archive
from app.archive.described import Described, Subject
from app.archive.rendered_documents import (
    PDF,
    REPORTS,
    document_body,
    document_type,
    is_report,
    report_body,
    report_pdf_body,
    video_body,
    video_type,
)
from app.archive.rendered_images import picture_body, picture_of
from app.dicom.appearance import appearance_of, check_size, frame_seconds
from app.dicom.limits import Limits
from app.dicom.pictures import FORMATS, GIF, Wanted, animated
from app.errors import InvalidDataset, NotAcceptable
from app.mime.media_types import Form
from app.rights import Principal

_AHEAD = 2
_PIXELS = ("7FE00010", "7FE00008", "7FE00009")


@dataclass(frozen=True, slots=True)
class Offer:
    """One way in which an Instance can be rendered."""

    media_type: str
    open: Callable[[], Awaitable[Body]]
    picture: Wanted | None = None
    """How it is made, if it is one picture of one frame."""


def offers_of(
    archive: Archive, principal: Principal, subject: Subject, wanted: Wanted
) -> list[Offer]:
    """Return how an Instance can be rendered, the default first; nothing if it cannot be."""
    described = subject.described
    media_type = document_type(described)
    if media_type is not None:
        return [Offer(media_type, partial(document_body, archive, described))]
    if is_report(described):
        on_paper = Offer(PDF, partial(report_pdf_body, archive, described))
        return [*(Offer(kind, partial(report_body, described, kind)) for kind in REPORTS), on_paper]
    if described.place.frame_count == 0:
        return []
    if described.is_video:
        opened = partial(video_body, archive, principal, described)
        return [Offer(video_type(described), opened)]
    offers = picture_offers(archive, principal, subject, wanted)
    if described.place.frame_count > 1 and subject.state is None:
        moving = Offer(GIF, partial(_animation, archive, principal, subject, wanted))
        offers = [moving if offer.media_type == GIF else offer for offer in offers]
    return offers


def picture_offers(
    archive: Archive, principal: Principal, subject: Subject, wanted: Wanted
) -> list[Offer]:
    """Return the kinds of pictures of one frame, the default first."""
    kinds = [replace(wanted, media_type=media_type) for media_type in FORMATS]
    return [
        Offer(kind.media_type, partial(picture_body, archive, principal, subject, kind), kind)
        for kind in kinds
    ]


async def _animation(
    archive: Archive, principal: Principal, subject: Subject, wanted: Wanted
) -> Body:
    """Return all frames as one GIF; the first is made now, so that what fails is a clean error."""
    wanted = replace(wanted, media_type=GIF)

    async def made(number: int) -> bytes:
        return await picture_of(archive, principal, replace(subject, number=number), wanted)

    first = await made(1)
    count = subject.described.place.frame_count

    async def pictures() -> AsyncIterator[bytes]:
        yield first
        async for picture in ahead(each(range(2, count + 1)), made, _AHEAD):
            yield picture

    shown = animated(pictures(), frame_seconds(subject.described.document))
    return Body({"Content-Type": GIF}, None, shown)


def choose(
    forms: Sequence[Form], offers: Sequence[Offer], described: Described, *others: str
) -> tuple[Form, Offer]:
    """Return the first form that something offered fits, and the first such offer.

    Raises:
        NotAcceptable: nothing fits; `others` are what else is offered.
    """
    fitting = first_fitting(forms, types_of(offers))
    if fitting is not None:
        form, media_type = fitting
        return form, next(offer for offer in offers if offer.media_type == media_type)
    uid = described.place.ref.instance
    if not offers:
        raise NotAcceptable(f"Instance {uid} {_why_not(described)}", others)
    offered = [*types_of(offers), *others]
    raise NotAcceptable(f"Instance {uid} is not rendered in any form that is accepted", offered)


def _why_not(described: Described) -> str:
    if not any(tag in described.bulk_values for tag in _PIXELS):
        return "has no pixels, so there is nothing to render"
    try:
        syntax = described.place.transfer_syntax_uid
        check_size(appearance_of(described.document, syntax, 1), Limits().decoded_bytes)
    except InvalidDataset as error:
        return f"cannot be rendered: {error}"
    return "cannot be rendered: its Pixel Data is shorter than one frame"


def types_of(offers: Sequence[Offer]) -> list[str]:
    """Return the media types of offers."""
    return [offer.media_type for offer in offers]


def first_fitting(forms: Sequence[Form], media_types: Sequence[str]) -> tuple[Form, str] | None:
    """Return the first form that a media type fits, and the first such media type."""
    for form in forms:
        for media_type in media_types:
            if form.covers(media_type):
                return form, media_type
    return None
