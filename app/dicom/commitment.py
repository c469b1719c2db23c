"""Storage Commitment: what a request names, and what became of it (PS3.18 chapter 13, Annex J).

A request names Instances by class and UID alone, or by Study and Series, too; each is answered in
the form in which it was named. What is named twice counts once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from typing import Any

import orjson

from app.dicom.uids import check_uid
from app.errors import InvalidRequest, TooLarge

COMMITTED = 0
"""In the place of a Failure Reason: there is none."""
_STUDIES, _SERIES, _BY_CLASS, _INSTANCES = "00081110", "00081115", "00081112", "0008114A"
_FAILED, _REFERENCED, _FAILED_STUDIES = "00081198", "00081199", "0008119B"
_CLASS, _INSTANCE, _REASON = "00081150", "00081155", "00081197"
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"
_PADDING = " \0"


class CommitmentFailure(IntEnum):
    """Values of Failure Reason (0008,1197) for which an Instance is not committed.

    Source: PS3.3 §C.14.1.1
    """

    PROCESSING_FAILURE = 0x0110
    """Its bytes are damaged or lost, or could not be read for long."""
    NO_SUCH_INSTANCE = 0x0112
    CLASS_CONFLICT = 0x0119
    """It is of another SOP Class."""
    OUT_OF_RESOURCES = 0x0213
    """It was lost in one store, and there is no room to repair it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An Instance as a request names it; Study and Series are '' where it does not say them."""

    sop_class_uid: str
    sop_instance_uid: str
    study: str = ""
    series: str = ""


def read_request(dataset: Any, most: int) -> list[Reference]:
    """Return what a request names, each reference once and in its order.

    `dataset` is a DICOM JSON object, or an array of one.

    Raises:
        InvalidRequest: it is no such object, names nothing, or something in it has no UID.
        TooLarge: it names more than `most` Instances.

    Source: PS3.18 Table J.1-1
    """
    if isinstance(dataset, list) and len(dataset) == 1:
        dataset = dataset[0]
    found: dict[Reference, None] = {}
    for reference in chain(_named_alone(dataset), _named_in_studies(dataset)):
        found[reference] = None
        if len(found) > most:
            raise TooLarge(f"Up to {most} Instances in one request were expected")
    if not found:
        raise InvalidRequest(
            "Instances in a Referenced SOP Sequence (0008,1199) or a Referenced Study Sequence"
            " (0008,1110) were expected"
        )
    return list(found)


def _named_alone(dataset: Any) -> Iterator[Reference]:
    for item in _items(dataset, _REFERENCED):
        yield Reference(_uid(item, _CLASS), _uid(item, _INSTANCE))


def _named_in_studies(dataset: Any) -> Iterator[Reference]:
    for study in _items(dataset, _STUDIES):
        study_uid = _uid(study, _STUDY_UID)
        for series in _some_items(study, _SERIES):
            series_uid = _uid(series, _SERIES_UID)
            for of_class in _some_items(series, _BY_CLASS):
                class_uid = _uid(of_class, _CLASS)
                for item in _some_items(of_class, _INSTANCES):
                    yield Reference(class_uid, _uid(item, _INSTANCE), study_uid, series_uid)


def _items(dataset: Any, tag: str) -> list[Any]:
    """Return the values of an attribute, none where it is absent."""
    if not isinstance(dataset, Mapping):
        raise InvalidRequest("A DICOM JSON object was expected as the Data Set and as each item")
    element = dataset.get(tag, dataset.get(tag.lower(), {}))
    values = element.get("Value", []) if isinstance(element, Mapping) else None
    if not isinstance(values, list):
        raise InvalidRequest(f"An attribute {tag} with an array as its Value was expected")
    return values


def _some_items(dataset: Any, tag: str) -> list[Any]:
    items = _items(dataset, tag)
    if not items:
        raise InvalidRequest(f"One item or more were expected in the Sequence {tag}")
    return items


def _uid(item: Any, tag: str) -> str:
    values = _items(item, tag)
    if len(values) != 1 or not isinstance(values[0], str):
        raise InvalidRequest(f"One UID was expected as the attribute {tag}")
    return check_uid(values[0].strip(_PADDING))


def result_json(results: Sequence[tuple[Reference, int]]) -> bytes:
    """Return the response as one DICOM JSON object: `COMMITTED` or a Failure Reason for each.

    Source: PS3.18 Table J.2-1, Annex F
    """
    good = [one for one in results if one[1] == COMMITTED]
    bad = [one for one in results if one[1] != COMMITTED]
    sequences = {
        _STUDIES: _in_studies(good),
        _FAILED: _alone(bad),
        _REFERENCED: _alone(good),
        _FAILED_STUDIES: _in_studies(bad),
    }
    return orjson.dumps({tag: _sq(items) for tag, items in sequences.items() if items})


def _alone(results: Iterable[tuple[Reference, int]]) -> list[Any]:
    return [
        {_CLASS: _ui(one.sop_class_uid), **_instance(one, reason)}
        for one, reason in results
        if not one.study
    ]


def _in_studies(results: Iterable[tuple[Reference, int]]) -> list[Any]:
    tree: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for one, reason in results:
        if one.study:
            classes = tree.setdefault(one.study, {}).setdefault(one.series, {})
            classes.setdefault(one.sop_class_uid, []).append(_instance(one, reason))
    return [
        {
            _SERIES: _sq([_in_series(uid, classes) for uid, classes in series.items()]),
            _STUDY_UID: _ui(study),
        }
        for study, series in tree.items()
    ]


def _in_series(series: str, classes: Mapping[str, list[Any]]) -> dict[str, Any]:
    items = [{_INSTANCES: _sq(those), _CLASS: _ui(uid)} for uid, those in classes.items()]
    return {_BY_CLASS: _sq(items), _SERIES_UID: _ui(series)}


def _instance(one: Reference, reason: int) -> dict[str, Any]:
    failure = {} if reason == COMMITTED else {_REASON: {"vr": "US", "Value": [reason]}}
    return {_INSTANCE: _ui(one.sop_instance_uid), **failure}


def _sq(items: list[Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def _ui(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}
