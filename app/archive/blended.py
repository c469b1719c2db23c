"""Which image a blending presentation state shows over another: the nearest of the same slice."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import orjson

from app.archive.context import Archive
from app.archive.described import Subject, describe
from app.dicom.blending import Candidate, candidates, superimposed_references
from app.dicom.document import Document
from app.dicom.planes import Plane, plane_of
from app.dicom.presentation_state import is_blending
from app.dicom.uids import InstanceRef, SeriesRef, check_uid
from app.errors import InvalidUID, NotFound
from app.index.packing import metadata_unpacker
from app.index.places import MetadataPage, load_metadata
from app.rights import Principal

_Frames = dict[str, tuple[int, ...]]


async def with_blended(archive: Archive, principal: Principal, subject: Subject) -> Subject:
    """Return what a blending state shows over an image along with it, if that is here.

    Raises:
        Unavailable: the index does not answer.
    """
    state = subject.state
    plane = plane_of(subject.described.document, subject.number)
    if state is None or plane is None or not is_blending(state.document):
        return subject
    nearest: tuple[Candidate, SeriesRef] | None = None
    for series, frames in _wanted(state.document, state.place.ref.study).items():
        async for candidate in _candidates(archive, principal, series, frames, plane):
            if nearest is None or candidate.away < nearest[0].away:
                nearest = candidate, series
    if nearest is None:
        return subject
    candidate, series = nearest
    ref = InstanceRef(series.study, series.series, candidate.instance)
    described = await describe(archive, principal, ref)
    return replace(subject, blended=Subject(described, candidate.number))


def _wanted(state: Document, study: str) -> Mapping[SeriesRef, _Frames]:
    """Return the images that a state names, by Series, and their frames."""
    found: dict[SeriesRef, _Frames] = {}
    for one in superimposed_references(state):
        try:
            series = SeriesRef(check_uid(one.study or study), check_uid(one.series))
        except InvalidUID:
            continue
        found.setdefault(series, {})[one.instance] = one.frames
    return found


async def _candidates(
    archive: Archive, principal: Principal, series: SeriesRef, frames: _Frames, plane: Plane
) -> AsyncIterator[Candidate]:
    try:
        pages = await load_metadata(archive.index, principal.scope, series)
    except NotFound:
        return
    async for page in pages:
        for candidate in await asyncio.to_thread(_of_page, page, frames, plane):
            yield candidate


def _of_page(page: MetadataPage, frames: _Frames, plane: Plane) -> list[Candidate]:
    unpack = metadata_unpacker(page.dictionary)
    return [
        candidate
        for uid, packed in page.instances
        if uid in frames
        for candidate in candidates(Document(orjson.loads(unpack(packed))), frames[uid], plane)
    ]
