"""What an Instance shows when it is rendered: a frame of it, or a presentation state's image."""

from dataclasses import replace

from app.archive.blended import with_blended
from app.archive.context import Archive
from app.archive.described import Described, Subject, describe
from app.archive.retrieve import find_instance
from app.dicom.presentation_state import STATES, references, refers_to
from app.dicom.segmentation import SEGMENTATIONS
from app.dicom.uids import InstanceRef, check_uid
from app.errors import InvalidRequest, InvalidUID, NotFound
from app.index.places import InstancePlace
from app.rights import Principal


def representative_frame(described: Described) -> int:
    """Return the number of the frame that stands for all, as the Instance says; or the first."""
    number = described.document.integer("00286010", 1)
    return number if 1 <= number <= described.place.frame_count else 1


async def find_subject(
    archive: Archive, principal: Principal, ref: InstanceRef, place: InstancePlace | None = None
) -> Subject:
    """Return what an Instance shows; a presentation state shows the first image that is here.

    `place` is where the Instance lies, if that was looked up already.

    Raises:
        NotFound: there is no such Instance, or none that a presentation state is for, or
            `principal` may not see its Study.
    """
    described = await describe(archive, principal, ref, place)
    if not _is_state(described):
        return Subject(described, representative_frame(described))
    for one in references(described.document):
        try:
            study = check_uid(one.study or ref.study)
            image = InstanceRef(study, check_uid(one.series), check_uid(one.instance))
            found = await describe(archive, principal, image)
        except (NotFound, InvalidUID):
            continue
        number = next(iter(one.frames), representative_frame(found))
        return await with_blended(archive, principal, Subject(found, number, described))
    raise NotFound("An image of presentation state", ref.instance)


async def with_state(
    archive: Archive, principal: Principal, subject: Subject, ref: InstanceRef
) -> Subject:
    """Return what is shown by a presentation state that was asked for.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
        InvalidRequest: it is no presentation state for this image.
    """
    state = await describe(archive, principal, ref)
    image = subject.described.place.ref
    if not (_is_state(state) and refers_to(state.document, image.instance)):
        raise InvalidRequest("presentationUID names no presentation state for this image")
    return await with_blended(archive, principal, replace(subject, state=state))


async def with_segmentation(
    archive: Archive, principal: Principal, subject: Subject, uid: str
) -> Subject:
    """Return what is shown with a segmentation over it; without a UID, without one.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
        InvalidRequest: it is no segmentation.
    """
    if not uid:
        return subject
    found = await describe(archive, principal, await find_instance(archive, principal, uid))
    if found.document.text("00080016") not in SEGMENTATIONS:
        raise InvalidRequest("segmentation names no segmentation")
    return replace(subject, segmentation=found)


def _is_state(described: Described) -> bool:
    return described.document.text("00080016") in STATES
