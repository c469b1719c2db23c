"""Instances of no Patient (PS3.18 §12): retrieve, search, delete. They are stored by `store`.

Few in number and small, they are searched by what their Metadata says, newest first, whatever
attribute the key is; there is a limit to how many one search looks into.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.archive.answers import Answer, Known, nothing_known
from app.archive.bulk_data import first_fitting, open_value
from app.archive.context import Archive
from app.archive.retrieve import RENDITION, open_instance
from app.archive.search import SearchResult
from app.archive.search_answers import asked_keys
from app.dicom.any_attribute import meets
from app.dicom.delivery import APPLICATION_DICOM, Delivery, How, deliver_instance
from app.dicom.matching import Query
from app.dicom.non_patient import CATEGORIES, Category
from app.dicom.rules import Equal
from app.dicom.scanned import BULK_DATA_PLACEHOLDER
from app.dicom.uids import check_uid
from app.dicom.value_representations import certain_vr, is_private
from app.errors import Forbidden, TooLarge
from app.index.described import StoredDescription
from app.index.frames import no_bulk_data
from app.index.non_patient import (
    NonPatientRow,
    list_non_patient,
    load_non_patient,
    load_non_patient_rows,
    remove_non_patient,
)
from app.mime.media_types import Form
from app.rights import Principal, Verb

_STEP = 50
_STEP_BYTES = 2**20
"""Rows, and packed bytes of Metadata, that are read in one go: an Inventory's may be large."""
_MOST_BYTES = 128 * 2**20
_SOP_INSTANCE = 0x00080018
_CHARACTER_SET, _RETRIEVE_URL = "00080005", "00081190"
_STRAIGHT = (How.STORED, How.REWRITTEN)


@dataclass(frozen=True, slots=True)
class NonPatientInstance:
    """A non-patient Instance that was looked up; `url` is where it is."""

    url: str
    stored: StoredDescription

    @property
    def metadata(self) -> bytes:
        """Its Metadata as a JSON array; BulkDataURIs are absolute."""
        start = BULK_DATA_PLACEHOLDER.removesuffix(b"bulkdata/")
        absolute = start + f"{self.url}/bulkdata/".encode()
        return b"[%b]" % self.stored.metadata.replace(BULK_DATA_PLACEHOLDER, absolute)

    def version(self, how: str) -> str:
        """Return what changes with its content, and with how it is delivered."""
        said = hashlib.sha256("\n".join((RENDITION, self.url, how)).encode()).hexdigest()[:12]
        return f"{self.stored.place.sha256.hex()[:32]}-{said}"

    def delivery(self, form: Form) -> Delivery | None:
        """Return how it is delivered as a Part 10 stream in one form, None if it cannot be."""
        candidates = deliver_instance(form, self.stored.place.transfer_syntax_uid)
        return next((one for one in candidates if one.how in _STRAIGHT), None)


async def find_non_patient(
    archive: Archive, principal: Principal, category: str, uid: str, base_url: str
) -> NonPatientInstance:
    """Look a non-patient Instance up.

    Raises:
        Forbidden: `principal` may not view.
        InvalidUID: `uid` is none.
        Gone, NotFound: there is no such Instance in the category, or none that `principal` may see.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    classes = CATEGORIES[category].sop_classes
    stored = await load_non_patient(archive.index, principal.scope, classes, check_uid(uid))
    return NonPatientInstance(f"{base_url}/{category}/{uid}", stored)


async def retrieve_non_patient(
    archive: Archive,
    principal: Principal,
    instance: NonPatientInstance,
    delivery: Delivery,
    known: Known = nothing_known,
    *,
    multipart: bool = False,
) -> Answer:
    """Return a non-patient Instance as a Part 10 stream; a version that is `known` has no body.

    Raises:
        Forbidden: `principal` may not download.
        InvalidDataset: what is stored cannot be written anew.
        Unavailable: the object store does not answer.
    """
    if Verb.DOWNLOAD not in principal.verbs:
        raise Forbidden("Downloading is not allowed to you")
    version = instance.version(f"{delivery.transfer_syntax_uid} {multipart}")
    if known(version):
        return Answer(APPLICATION_DICOM, multipart, (), version=version)
    body = await open_instance(archive, principal, instance.stored.place, delivery)
    return Answer(APPLICATION_DICOM, multipart, [body], version=version)


async def retrieve_non_patient_value(
    archive: Archive,
    principal: Principal,
    instance: NonPatientInstance,
    path: str,
    forms: Sequence[Form],
    known: Known = nothing_known,
) -> Answer:
    """Return a bulk value; `path` is what follows `bulkdata/` in its URI.

    Raises:
        NotFound: there is no such value.
        NotAcceptable: none of the forms can be made.
        Unavailable: the object store does not answer.
    """
    found = instance.stored.bulk_values.get(path)
    if found is None:
        raise no_bulk_data(path, instance.stored.place.ref.instance)
    form, media_type = first_fitting(forms, "")
    version = instance.version(path)
    if known(version):
        return Answer(media_type, form.multipart, (), version=version)
    url, place = f"{instance.url}/bulkdata/{path}", instance.stored.place
    body = await open_value(archive, principal, place, (path, found), url, media_type)
    return Answer(media_type, form.multipart, [body], version=version)


async def delete_non_patient(
    archive: Archive, principal: Principal, category: str, uid: str
) -> None:
    """Delete a non-patient Instance; its bytes stay, and it may be stored again.

    Raises:
        Forbidden: `principal` may not delete.
        InvalidUID: `uid` is none.
        Gone, NotFound: as `find_non_patient`.
        Unavailable: the index does not answer; or it is done, and could not be sealed in time.
    """
    if Verb.DELETE not in principal.verbs:
        raise Forbidden("Deleting is not allowed to you")
    classes, name = CATEGORIES[category].sop_classes, principal.name
    await remove_non_patient(
        archive.index, principal.scope, name, category, classes, check_uid(uid)
    )
    await archive.sealer.settle(principal.scope.tenant_id)


async def search_non_patient(
    archive: Archive, principal: Principal, category: str, query: Query, base_url: str
) -> SearchResult:
    """Return what of a category matches `query` and `principal` may see, newest first.

    `base_url` is the DICOMweb base, absolute, for Retrieve URLs.

    Raises:
        Forbidden: `principal` may not search.
        TooLarge: there is more in the category than may be looked into, or the answer is too large.
    """
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("searching is not allowed")
    found = _Found(CATEGORIES[category], query, f"{base_url}/{category}")
    most = archive.limits.search_results
    limit = most if query.limit is None else min(query.limit, most)
    keys = await _candidates(archive, principal, found, limit)
    rows: list[str] = []
    matched = 0
    first = query.offset if query.matches else 0  # else the index has skipped them
    for step in _steps(keys):
        if not query.matches and len(rows) >= limit:
            matched += len(step)
            continue
        loaded = await load_non_patient_rows(archive.index, step)
        wanted = range(first - matched, first - matched + limit)
        count, texts = await asyncio.to_thread(found.answers, loaded, wanted)
        matched += count
        rows += texts
        if sum(map(len, rows)) > _MOST_BYTES:
            raise TooLarge("the answer would be too large: ask for fewer matches with limit")
    remaining = min(max(matched - first - limit, 0), archive.limits.counted_matches)
    at_least = remaining >= archive.limits.counted_matches
    return SearchResult(rows, remaining, query.warnings, at_least)


def _steps(keys: Mapping[int, int]) -> Iterator[list[int]]:
    step, size = list[int](), 0
    for key, taken in keys.items():
        if step and (len(step) == _STEP or size + taken > _STEP_BYTES):
            yield step
            step, size = [], 0
        step.append(key)
        size += taken
    if step:
        yield step


async def _candidates(
    archive: Archive, principal: Principal, found: "_Found", limit: int
) -> dict[int, int]:
    """Return the keys of what has to be looked into and the size of each, newest first.

    Where there is nothing to compare that is the page itself, and what counts as remaining.
    """
    query, classes = found.query, found.category.sop_classes
    index, scope = archive.index, principal.scope
    if not query.matches:
        most = limit + archive.limits.counted_matches
        return await list_non_patient(index, scope, classes, None, most, query.offset)
    most = archive.limits.looked_into
    keys = await list_non_patient(index, scope, classes, _uids(query), most + 1)
    if len(keys) > most:
        raise TooLarge(
            f"there are more than {most} {found.category.title} to look into: "
            "give their SOPInstanceUID"
        )
    return keys


def _uids(query: Query) -> Sequence[str] | None:
    for match in query.matches:
        if match.attribute.path == (_SOP_INSTANCE,) and isinstance(match.rule, Equal):
            return [str(value) for value in match.rule.values]
    return None


@dataclass(frozen=True, slots=True)
class _Found:
    """Makes the answers of one search below `url`."""

    category: Category
    query: Query
    url: str

    def answers(self, rows: Sequence[NonPatientRow], wanted: range) -> tuple[int, list[str]]:
        """Return how many rows meet all matches, and the `wanted` ones of those as JSON objects.

        For a thread.
        """
        creators = dict(self.query.creators)
        count, texts = 0, []
        for row in rows:
            dataset = orjson.loads(row.metadata)
            if all(meets(dataset, match, creators) for match in self.query.matches):
                if count in wanted:
                    texts.append(self._render(row, dataset))
                count += 1
        return count, texts

    def _render(self, row: NonPatientRow, dataset: dict[str, Any]) -> str:
        query, url = self.query, f"{self.url}/{row.sop_instance_uid}"
        asked = {*self.category.returned, *query.include}
        members: dict[str, Any] = {
            f"{tag:08X}": {"vr": vr}
            for tag in asked
            if not is_private(tag) and (vr := certain_vr(tag)) not in {None, "UN"}
        }
        held = [*asked_keys(query, dataset), *(f"{tag:08X}" for tag in self.category.returned)]
        held = [*dataset] if query.include_all else [_CHARACTER_SET, *held]
        members |= {key: dataset[key] for key in held if key in dataset}
        members[_RETRIEVE_URL] = {"vr": "UR", "Value": [url]}
        text = orjson.dumps(dict(sorted(members.items()))).decode()
        placeholder = BULK_DATA_PLACEHOLDER.decode()
        absolute = placeholder.removesuffix("bulkdata/")
        return text.replace(placeholder, f"{absolute}{url}/bulkdata/")
