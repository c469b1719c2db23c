"""Pictures of frames: made in worker processes, and kept in the cache by what they are made of."""

import asyncio
import hashlib
from collections.abc import Sequence

from app.archive.answers import Body, body_of
from app.archive.context import Archive
from app.archive.described import Described, Subject, load_appearance, with_tables
from app.archive.frames import FoundFrames, open_frames
from app.archive.known_pictures import Known
from app.archive.originals import open_extent
from app.dicom.appearance import Appearance
from app.dicom.blending import Blended, opacity_of, superimposed
from app.dicom.delivery import Delivery, How
from app.dicom.pictures import RENDERING_VERSION, Wanted
from app.dicom.planes import Mapping, mapping_of, plane_of
from app.dicom.segmentation import Layer, frames_over
from app.dicom.transfer_syntaxes import OCTET_STREAM
from app.dicom.viewport import Region
from app.errors import InvalidDataset, InvalidRequest
from app.objects.extents import Extent
from app.rights import Principal

_RENDER = "app.dicom.rendering:render_frame"


def picture_name(subject: Subject, wanted: Wanted) -> str:
    """Return the name of a picture, made of all that it depends on: bytes, frame, parameters."""
    key = f"{RENDERING_VERSION} {subject.digests} {subject.number} {wanted!r}"
    return f"rendered-{hashlib.sha256(key.encode()).hexdigest()}"


async def picture_of(
    archive: Archive, principal: Principal, subject: Subject, wanted: Wanted
) -> bytes:
    """Return the picture of a frame, from the cache if it is there.

    Raises:
        NotFound: the Instance has no such frame.
        InvalidDataset: the frame cannot be rendered.
        InvalidRequest: the viewport shows nothing of it.
        Unavailable: the object store or a worker does not answer.
    """

    async def make() -> bytes:
        async with archive.budgets.pixels.turn():
            appearance = await load_appearance(archive, subject)
            _check_region(wanted, appearance)
            data = await _stored_frame(archive, principal, subject)
            layers = await _layers(archive, principal, subject)
            blended = await _blended(archive, principal, subject)
            return await _rendered(archive, data, (appearance, wanted), layers, blended)

    name = picture_name(subject, wanted)
    picture = archive.pictures.picture(name)
    if picture is None:
        picture = await archive.cache.get_or_make(name, make)
        archive.pictures.hold(name, picture)
    return picture


async def picture_body(
    archive: Archive, principal: Principal, subject: Subject, wanted: Wanted
) -> Body:
    """Return the picture of a frame as a body; raises what `picture_of` raises."""
    picture = await picture_of(archive, principal, subject, wanted)
    return body_of({"Content-Type": wanted.media_type}, picture)


async def known_body(archive: Archive, known: Known) -> Body | None:
    """Return a picture that was made before as a body, None if it is kept no more."""
    picture = archive.pictures.picture(known.name)
    if picture is None:
        picture = await archive.cache.load(known.name)
        if picture is None:
            return None
        archive.pictures.hold(known.name, picture)
    return body_of({"Content-Type": known.media_type}, picture)


def _check_region(wanted: Wanted, appearance: Appearance) -> None:
    """Refuse a region that shows nothing, or that goes with a presentation state's own area."""
    if wanted.viewport is None:
        return
    region, pixels = wanted.viewport.region, appearance.pixels
    if appearance.presentation is not None and region != Region():
        raise InvalidRequest("A presentation state says itself which region is shown")
    region.pixels(pixels.rows, pixels.columns)


async def _find_frame(
    archive: Archive, principal: Principal, described: Described, number: int
) -> FoundFrames:
    place, native = described.place, described.native
    if native is not None:
        places = native.places([number])
    else:
        places = await archive.leases.locate(principal.scope, place.ref, [number])
    stored = Delivery(How.STORED, place.transfer_syntax_uid, OCTET_STREAM)
    return FoundFrames(places.instance, places.frames, stored, multipart=False)


async def _stored_frame(archive: Archive, principal: Principal, subject: Subject) -> bytes | Extent:
    """Return a frame as it is stored, read or not."""
    found = await _find_frame(archive, principal, subject.described, subject.number)
    if found.is_plain:
        extent = await open_extent(archive, found.instance, found.frames[0])
        if extent is not None:
            return extent
    return await _read_frame(archive, principal, found)


async def _read_frame(archive: Archive, principal: Principal, found: FoundFrames) -> bytes:
    """Return a frame as it is stored, native ones little endian and from their first bit on."""
    answer = await open_frames(archive, principal, found)
    assert isinstance(answer.bodies, Sequence)  # noqa: S101 - as frames come
    (body,) = answer.bodies
    return b"".join([chunk async for chunk in body.chunks])


async def _layers(archive: Archive, principal: Principal, subject: Subject) -> list[Layer]:
    """Return the frames of a segmentation that lie over an image.

    Raises:
        InvalidDataset: they are damaged, or too large.
        InvalidRequest: they do not fit the image.
    """
    segmentation = subject.segmentation
    if segmentation is None:
        return []
    layers: list[Layer] = []
    image, instance = subject.described.document, subject.described.place.ref.instance
    over = (segmentation.document, image, instance, subject.number)
    for frame in await asyncio.to_thread(frames_over, *over):
        found = await _find_frame(archive, principal, segmentation, frame.number)
        data = await _read_frame(archive, principal, found)
        appearance = await load_appearance(archive, Subject(segmentation, frame.number))
        layers.append(Layer(data, appearance, frame))
    return layers


async def _blended(archive: Archive, principal: Principal, subject: Subject) -> Blended | None:
    """Return the frame that a blending presentation state shows over an image."""
    over, state = subject.blended, subject.state
    if over is None or state is None:
        return None
    found = await _find_frame(archive, principal, over.described, over.number)
    data = await _read_frame(archive, principal, found)
    document = await with_tables(archive, state, subject.number)
    plain = await load_appearance(archive, over)
    uid = over.described.place.ref.instance
    appearance = await asyncio.to_thread(superimposed, plain, document, uid, over.number)
    planes = (
        plane_of(subject.described.document, subject.number),
        plane_of(over.described.document, over.number),
    )
    mapping = mapping_of(planes[0], planes[1]) if planes[0] and planes[1] else Mapping()
    return Blended(data, appearance, mapping, opacity_of(document))


async def _rendered(
    archive: Archive,
    data: bytes | Extent,
    how: tuple[Appearance, Wanted],
    layers: Sequence[Layer],
    blended: Blended | None,
) -> bytes:
    limit = archive.limits.decoded_bytes
    picture = await archive.workers.run(_RENDER, data, *how, limit, layers, blended)
    if not isinstance(picture, bytes):
        raise InvalidDataset("the renderer returned something else than a picture")
    return picture
