"""Export: stored bytes as files with readable names, checked against their digests.

Those of Studies, and those of a category of non-patient Instances.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

import orjson

from app.archive.context import Archive
from app.archive.export_names import (
    Dataset,
    Wish,
    clean,
    distinct,
    instance_name,
    series_folder,
    study_folder,
)
from app.archive.export_targets import Target
from app.archive.originals import stream_stored
from app.archive.trail import access_of
from app.dicom.non_patient import CATEGORIES
from app.dicom.uids import Ref, SeriesRef, StudyRef
from app.errors import Damaged, Forbidden, Gone, NotFound, Unavailable
from app.index.non_patient import list_non_patient, load_non_patient, load_non_patient_rows
from app.index.packing import metadata_unpacker
from app.index.places import InstancePlace, load_metadata, locate_instances
from app.index.reads import EXPORTED
from app.rights import Principal, Verb

_PAGE = 50
_EVERY = 2**31
_DAMAGED = "its object is damaged"


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of the export; `fault` says what is wrong with its bytes, '' if nothing is."""

    name: str
    size: int
    was_there: bool = False
    fault: str = ""


async def export_study(
    archive: Archive,
    principal: Principal,
    ref: StudyRef | SeriesRef,
    target: Target,
    tell: Callable[[Exported], None],
) -> None:
    """Write all Instances of a Study or Series to `target`; `tell` is called for each.

    An Instance whose object is missing or damaged is told of, and the others are written. It is in
    the audit trail before the first one is.

    Raises:
        Forbidden: `principal` may not export.
        NotFound: there is nothing by that name, or nothing that `principal` may see.
        Conflict: a file of that name is there, with other content.
        StorageFull, Unavailable: `target` cannot be written, or the index does not answer.
    """
    if Verb.EXPORT not in principal.verbs:
        raise Forbidden("Exporting is not allowed to you")
    names = await name_instances(archive, principal, ref)
    await archive.trail.write(access_of(principal, EXPORTED, ref.study))
    async for place in await locate_instances(archive.index, principal.scope, ref):
        name = names.get(place.ref.instance)
        if name is not None:  # else it was added this moment
            tell(await _export(archive, place, f"{name}.dcm", target))


async def export_category(
    archive: Archive,
    principal: Principal,
    category: str,
    target: Target,
    tell: Callable[[Exported], None],
) -> None:
    """Write all non-patient Instances of a category to `target`, as `export_study` does.

    Raises:
        Forbidden: `principal` may not export.
        Conflict, StorageFull, Unavailable: as for `export_study`.
    """
    if Verb.EXPORT not in principal.verbs:
        raise Forbidden("Exporting is not allowed to you")
    index, scope, classes = archive.index, principal.scope, CATEGORIES[category].sop_classes
    keys = list(await list_non_patient(index, scope, classes, None, _EVERY))
    for start in range(0, len(keys), _PAGE):
        for row in await load_non_patient_rows(index, keys[start : start + _PAGE]):
            uid = row.sop_instance_uid
            with suppress(NotFound, Gone):  # deleted this moment
                stored = await load_non_patient(index, scope, classes, uid)
                tell(await _export(archive, stored.place, f"{category}/{uid}.dcm", target))


async def _export(archive: Archive, place: InstancePlace, name: str, target: Target) -> Exported:
    run = archive.staging.threads.run
    if await run(target.has, name, place.size, place.sha256):
        return Exported(name, place.size, was_there=True)
    try:
        stream = await stream_stored(archive, place, 0, place.size)
    except Damaged:
        return Exported(name, 0, fault=_DAMAGED)
    except Unavailable:
        return Exported(name, 0, fault="its object is missing or cut short")
    digest = hashlib.sha256()
    await run(target.begin, name, place.size)
    whole = False
    try:
        async for chunk in _readable(stream):
            await run(_write, target, digest, chunk)
        whole = digest.digest() == place.sha256
    except _Broken as error:
        return Exported(name, place.size, fault=str(error))
    finally:
        await run(lambda: target.end(keep=whole))
    return Exported(name, place.size, fault="" if whole else _DAMAGED)


class _Broken(Exception):
    """An object cannot be read to its end."""


async def _readable(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in stream:
            yield chunk
    except Damaged as error:
        raise _Broken(_DAMAGED) from error
    except Unavailable as error:
        raise _Broken("its object is cut short") from error


def _write(target: Target, digest: "hashlib._Hash", chunk: bytes) -> None:
    target.write(chunk)
    digest.update(chunk)


async def name_instances(archive: Archive, principal: Principal, ref: Ref) -> dict[str, str]:
    """Return a path for people, without extension, for each Instance by its UID.

    Raises:
        NotFound: there is nothing by that name, or nothing that `principal` may see.
    """
    firsts: dict[str, Dataset] = {}
    instances: list[tuple[str, Wish]] = []
    async for series, dataset in datasets_of(archive, principal, ref):
        firsts.setdefault(series, dataset[1])
        instances.append((series, Wish(clean(instance_name(dataset[1]), "instance"), dataset[0])))
    folders = distinct(Wish(series_folder(first), series) for series, first in firsts.items())
    root = study_folder(next(iter(firsts.values()), {}))
    paths: dict[str, str] = {}
    for series, group in groupby(instances, lambda pair: pair[0]):
        files = distinct(wish for _, wish in group)
        paths |= {uid: f"{root}/{folders[series]}/{file}" for uid, file in files.items()}
    return paths


async def datasets_of(
    archive: Archive, principal: Principal, ref: Ref
) -> AsyncIterator[tuple[str, tuple[str, Dataset]]]:
    """Yield Series Instance UID, SOP Instance UID and Metadata of all Instances, by Series."""
    async for page in await load_metadata(archive.index, principal.scope, ref):
        unpack = metadata_unpacker(page.dictionary)
        for uid, packed in page.instances:
            yield page.ref.series, (uid, orjson.loads(unpack(packed)))
