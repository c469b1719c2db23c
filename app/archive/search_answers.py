"""Rows of a search as DICOM JSON (PS3.18 §10.6.3.3): stored text with computed members put in.

Nothing stored is parsed. Only where an Instance's Metadata is asked for is it unpacked and read.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

from app.dicom.attributes import (
    CUT,
    MEMBER_BREAK,
    PATIENT_COUNTS,
    TABLE,
    Level,
    Returned,
    member_key,
    split_members,
)
from app.dicom.matching import Query
from app.dicom.scanned import BULK_DATA_PLACEHOLDER
from app.index.packing import unpack_metadata
from app.index.search import Found, InstanceRow, SeriesRow, StudyRow

_PLACEHOLDER = BULK_DATA_PLACEHOLDER.decode()
_KEY = len(member_key(0))
_ = MEMBER_BREAK
_RETURNED = {(row.level, row.tag): row for row in TABLE if row.returned is not Returned.NEVER}


class Answers:
    """Makes the answers of one query; `base_url` is the absolute DICOMweb base of its URLs."""

    def __init__(self, query: Query, base_url: str) -> None:
        self._query = query
        self._studies = orjson.dumps(f"{base_url}/studies")[1:-1].decode()
        self._modality = 0x00080060 in query.include
        above = any(query.wants(level) for level in Level if level < query.level)
        extra = query.wants_extra(query.level) or bool(query.include & PATIENT_COUNTS)
        self._merging = above or extra or query.wants_metadata()

    def render(self, found: Found) -> str:
        """Return one match as a JSON object."""
        study, series, instance = found
        if self._merging:
            return f"{{{MEMBER_BREAK.join(self._merged(found))}}}"
        if instance and series:
            return f"{{{MEMBER_BREAK.join(self._instance(study, series, instance))}}}"
        if series:
            a, b, c, d = series.document.split(CUT)
            x, y, z = self._series(study, series)
            return f"{{{a}{_}{x}{_}{b}{_}{y}{_}{c}{_}{z}{_}{d}}}"
        a, b, c = study.document.split(CUT)
        x, y, z = self._study(study)
        return f"{{{a}{_}{x}{_}{b}{_}{y}{_}{c}{_}{z}}}"

    def _study(self, row: StudyRow) -> tuple[str, str, str]:
        """Return the computed members of a Study, as they go into the cuts of its document."""
        return (
            _codes(tuple(row.modalities), tuple(row.sop_classes), self._modality),
            f'{_URL}{self._studies}/{row.study_instance_uid}"]}}',
            f'"00201206":{{"vr":"IS","Value":[{row.number_of_series}]}}{_}'
            f'"00201208":{{"vr":"IS","Value":[{row.number_of_instances}]}}',
        )

    def _series(self, study: StudyRow, row: SeriesRow) -> tuple[str, str, str]:
        path = f"{study.study_instance_uid}/series/{row.series_instance_uid}"
        return (
            _ONLINE,
            f'{_URL}{self._studies}/{path}"]}}',
            f'"00201209":{{"vr":"IS","Value":[{row.number_of_instances}]}}',
        )

    def _instance(self, study: StudyRow, series: SeriesRow, row: InstanceRow) -> list[str]:
        study_uid, series_uid = study.study_instance_uid, series.series_instance_uid
        zone = study.timezone_offset_from_utc
        return [
            _member(0x00080016, "UI", row.sop_class_uid),
            _member(0x00080018, "UI", row.sop_instance_uid),
            _ONLINE,
            *([_member(0x00080201, "SH", zone)] if zone else ()),
            f'{_URL}{self._instance_url(study, series, row)}"]}}',
            _member(0x00083002, "UI", row.transfer_syntax_uid),
            _member(0x0020000D, "UI", study_uid),
            _member(0x0020000E, "UI", series_uid),
            _member(0x00200013, "IS", row.instance_number),
            *_image(row),
        ]

    def _instance_url(self, study: StudyRow, series: SeriesRow, row: InstanceRow) -> str:
        path = f"{study.study_instance_uid}/series/{series.series_instance_uid}"
        return f"{self._studies}/{path}/instances/{row.sop_instance_uid}"

    def _merged(self, found: Found) -> list[str]:
        """Return the members of all levels that are wanted, in tag order; lower levels win."""
        study, series, instance = found
        query = self._query
        members: dict[str, str] = {}
        if query.wants(Level.STUDY):
            _add(members, (*split_members(study.document), *self._asked(study.extra)))
            _add(members, _split(self._study(study)))
            _add(members, self._patient(study))
        if series and query.wants(Level.SERIES):
            _add(members, (*split_members(series.document), *self._asked(series.extra)))
            _add(members, self._series(study, series))
        if instance and series:
            _add(members, self._metadata(study, series, instance))
            _add(members, self._instance(study, series, instance))
        self._add_empty(members)
        return [members[key] for key in sorted(members)]

    def _asked(self, extra: str) -> Iterable[str]:
        """Yield those of the members that are returned only when asked for which are."""
        keys = {member_key(tag) for tag in self._query.include}
        for member in split_members(extra):
            if self._query.include_all or member[:_KEY] in keys:
                yield member

    def _patient(self, row: StudyRow) -> Iterable[str]:
        if self._query.include & PATIENT_COUNTS:
            yield _member(0x00201200, "IS", row.patient_studies)
            yield _member(0x00201202, "IS", row.patient_series)
            yield _member(0x00201204, "IS", row.patient_instances)

    def _metadata(self, study: StudyRow, series: SeriesRow, row: InstanceRow) -> Iterable[str]:
        query = self._query
        if not query.wants_metadata():
            return
        metadata = orjson.loads(unpack_metadata(row.metadata_dictionary, row.metadata))
        asked = metadata if query.include_all else asked_keys(query, metadata)
        bulk = f'"BulkDataURI":"{self._instance_url(study, series, row)}/bulkdata/'
        for key in asked:
            if key in metadata:
                text = orjson.dumps(metadata[key]).decode()
                yield f'"{key}":{text.replace(_PLACEHOLDER, bulk)}'

    def _add_empty(self, members: dict[str, str]) -> None:
        """Add what was asked for by name and has no value, so that the caller sees that."""
        for tag in self._query.include:
            for level in range(self._query.level + 1):
                row = _RETURNED.get((Level(level), tag))
                if row:
                    empty = f'{member_key(tag)}{{"vr":"{row.vr}"}}'
                    members.setdefault(member_key(tag), empty)


def _add(members: dict[str, str], more: Iterable[str]) -> None:
    for member in more:
        members[member[:_KEY]] = member


def _split(texts: Iterable[str]) -> list[str]:
    return MEMBER_BREAK.join(texts).split(MEMBER_BREAK)


def asked_keys(query: Query, metadata: dict[str, Any]) -> Iterable[str]:
    """Yield the keys of what a query asks for, private elements where this Metadata has them."""
    creators = dict(query.creators)
    for tag in sorted(query.include):
        block = tag if tag in creators else tag & 0xFFFF0000 | tag >> 8 & 0xFF
        if block not in creators:
            yield f"{tag:08X}"
            continue
        located = _locate_block(block, creators[block], metadata)
        if located is not None:
            yield located if tag == block else f"{located[:4]}{located[6:]}{tag & 0xFF:02X}"


def _locate_block(block: int, creator: str, metadata: dict[str, Any]) -> str | None:
    """Return the key of the element by which an Instance gives a private block to `creator`.

    Blocks are given out anew in each Instance: the number in a request only ties the elements
    asked for to the creator in the same request (PS3.5 §7.8.1, PS3.18 §8.3.4.3).
    """
    group = f"{block >> 16:04X}00"
    for key, element in metadata.items():
        if key.startswith(group) and element.get("Value", [None])[0] == creator:
            return key
    return None


def _member(tag: int, vr: str, value: str | int | None) -> str:
    if value is None or value == "":
        return f'"{tag:08X}":{{"vr":"{vr}"}}'
    text = value if isinstance(value, int) else orjson.dumps(value).decode()
    return f'"{tag:08X}":{{"vr":"{vr}","Value":[{text}]}}'


_ONLINE = _member(0x00080056, "CS", "ONLINE")
_URL = '"00081190":{"vr":"UR","Value":["'


@lru_cache(maxsize=1024)
def _codes(modalities: tuple[str, ...], sop_classes: tuple[str, ...], modality: bool) -> str:
    """Return what a Study is made of, and that it is there; few combinations fill a hospital.

    `modality` says whether the modalities are also returned as that of the Study (OHIF). Where
    there are none, OHIF's whole list fails on an empty Modalities in Study beside it.
    """
    members = [_ONLINE]
    if modality:
        members.append(_listed(0x00080060, "CS", modalities))
    if modalities or not modality:
        members.append(_listed(0x00080061, "CS", modalities))
    members.append(_listed(0x00080062, "UI", sop_classes))
    return MEMBER_BREAK.join(members)


def _listed(tag: int, vr: str, values: Iterable[str]) -> str:
    listed = sorted(values)
    value = f',"Value":{orjson.dumps(listed).decode()}' if listed else ""
    return f'{member_key(tag)}{{"vr":"{vr}"{value}}}'


def _image(row: InstanceRow) -> Iterable[str]:
    frames = row.number_of_frames
    for tag, vr, value in (
        (0x00280008, "IS", frames),
        (0x00280010, "US", row.rows),
        (0x00280011, "US", row.columns),
        (0x00280100, "US", row.bits_allocated),
    ):
        if value is not None:
            yield _member(tag, vr, value)
