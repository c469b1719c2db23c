"""The Store Instances Response: what became of each Instance (PS3.18 §10.5.3, Annex I)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Any

import orjson

from app.dicom.non_patient import category_of
from app.dicom.uids import InstanceRef

_ERROR_COMMENT_LENGTH = 64  # LO
MOST_UNNAMED = 1000
"""Failures without a UID that are listed one by one: an answer is no larger than what was sent."""


class FailureReason(IntEnum):
    """Values of Failure Reason (0008,1197) that this archive gives.

    Source: PS3.18 Annex I.2.2, PS3.7 Annex C
    """

    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    """Another Instance has this SOP Instance UID and other content; it stays."""
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    """The resource takes no Instances of this SOP Class: it is of a Patient, or of none."""
    NOT_AUTHORIZED = 0x0124
    OUT_OF_RESOURCES = 0xA700
    UID_MISSING_OR_INVALID = 0xA900
    """A UID that names Study, Series, Instance or SOP Class is absent or no UID."""
    OTHER_STUDY = 0xA901
    """The Instance belongs to another Study than the request."""
    OTHER_INSTANCE = 0xA902
    """The Instance has another SOP Instance UID than the request."""
    CANNOT_UNDERSTAND = 0xC000
    CUT_SHORT = 0xC001
    OVER_A_LIMIT = 0xC002
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122


class WarningReason(IntEnum):
    """Values of Warning Reason (0008,1196) that this archive gives; nothing is ever coerced.

    Source: PS3.18 Annex I.2.1
    """

    ELEMENTS_DISCARDED = 0xB006
    """The request held Bulk Data that no Instance refers to."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An Instance that is stored; `ref` is where it is, `known` that it was there before."""

    ref: InstanceRef
    sop_class_uid: str
    known: bool = False
    warnings: tuple[str, ...] = ()
    warning_reason: WarningReason | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An Instance that is not stored, in a word and in plain words; UIDs are '' if not known."""

    reason: int
    comment: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


class Outcome(Enum):
    """What became of a request as a whole."""

    ALL_STORED = auto()
    SOME_STORED = auto()
    """Or all of them, but with a warning."""
    NONE_STORED = auto()


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What became of each Instance, in the order of the request."""

    results: Sequence[Stored | Failed]

    @property
    def stored(self) -> list[Stored]:
        """Those that are stored."""
        return [result for result in self.results if isinstance(result, Stored)]

    @property
    def failed(self) -> list[Failed]:
        """Those that are not."""
        return [result for result in self.results if isinstance(result, Failed)]

    @property
    def outcome(self) -> Outcome:
        """What became of them together."""
        if not self.failed and all(one.warning_reason is None for one in self.stored):
            return Outcome.ALL_STORED
        return Outcome.SOME_STORED if self.stored else Outcome.NONE_STORED


def report_json(report: StoreReport, base_url: str) -> bytes:
    """Return the response as one DICOM JSON object; URLs begin with `base_url`.

    Retrieve URL (0008,1190) names the Study if all that is stored is of one, else it is empty;
    non-patient Instances have none.
    What cannot be told to be an Instance stands in Other Failures Sequence (0008,119A); of very
    many the last item gives the number of those that are not listed.

    Source: PS3.18 Table I.1-1, Annex F
    """
    stored, failed = report.stored, report.failed
    named = [one for one in failed if one.sop_instance_uid]
    unnamed = [one for one in failed if not one.sop_instance_uid]
    studies = {one.ref.study for one in stored if one.ref.study}
    url = [f"{base_url}/studies/{studies.pop()}"] if len(studies) == 1 else []
    sequences = {
        "00081198": [_failed(one) for one in named],
        "00081199": [_stored(one, base_url) for one in stored],
        "0008119A": [_reason(one) for one in _listed(unnamed)],
    }
    members = {tag: _element("SQ", items) for tag, items in sequences.items() if items}
    return orjson.dumps({"00081190": _element("UR", url), **members})


def _listed(unnamed: Sequence[Failed]) -> Sequence[Failed]:
    rest = len(unnamed) - MOST_UNNAMED
    if rest <= 0:
        return unnamed
    summary = Failed(FailureReason.CANNOT_UNDERSTAND, f"and {rest} more parts that are refused")
    return [*unnamed[:MOST_UNNAMED], summary]


def _element(vr: str, values: Sequence[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _text(vr: str, value: str) -> dict[str, Any]:
    return _element(vr, [value] if value else [])


def _stored(one: Stored, base_url: str) -> Mapping[str, Any]:
    ref, category = one.ref, category_of(one.sop_class_uid)
    url = f"{base_url}/studies/{ref.study}/series/{ref.series}/instances/{ref.instance}"
    if category is not None and not ref.study:
        url = f"{base_url}/{category.name}/{ref.instance}"
    members = {
        "00081150": _text("UI", one.sop_class_uid),
        "00081155": _text("UI", ref.instance),
        "00081190": _text("UR", url),
    }
    if one.warning_reason is not None:
        members["00081196"] = _element("US", [one.warning_reason])
    return members


def _failed(one: Failed) -> Mapping[str, Any]:
    reason = dict(_reason(one))
    comment = reason.pop("00000902")
    return {
        "00000902": comment,
        "00081150": _text("UI", one.sop_class_uid),
        "00081155": _text("UI", one.sop_instance_uid),
        **reason,
    }


def _reason(one: Failed) -> Mapping[str, Any]:
    return {
        "00000902": _text("LO", _cut(one.comment)),
        "00081197": _element("US", [one.reason]),
    }


def _cut(comment: str) -> str:
    """Return a comment as long as the VR allows, cut after a word."""
    if len(comment) <= _ERROR_COMMENT_LENGTH:
        return comment
    words = comment[: _ERROR_COMMENT_LENGTH + 1].rpartition(" ")[0]
    return words.rstrip(" ,;:") or comment[:_ERROR_COMMENT_LENGTH]
