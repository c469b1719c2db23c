"""What a request for storage commitment names, and how it is answered; pydicom reads it back."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from app.dicom.commitment import (
    COMMITTED,
    CommitmentFailure,
    Reference,
    read_request,
    result_json,
)
from app.errors import InvalidRequest, InvalidUID, TooLarge

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ALONE = [Reference(CT, "1.2.1"), Reference(MR, "1.2.2")]
IN_STUDIES = [
    Reference(CT, "1.2.3", "1.9", "1.9.1"),
    Reference(CT, "1.2.4", "1.9", "1.9.1"),
    Reference(MR, "1.2.5", "1.9", "1.9.1"),
    Reference(MR, "1.2.6", "1.9", "1.9.2"),
    Reference(MR, "1.2.7", "1.8", "1.8.1"),
]


def ui(*uids: Any) -> dict[str, Any]:
    return {"vr": "UI", "Value": list(uids)}


def sq(*items: Any) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def named(*references: Reference) -> dict[str, Any]:
    """Return a request that names Instances alone."""
    items = [
        {"00081150": ui(one.sop_class_uid), "00081155": ui(one.sop_instance_uid)}
        for one in references
    ]
    return {"00081199": sq(*items)}


def asked(references: list[Reference]) -> dict[str, Any]:
    """Return a request: what is committed is answered in the form in which it is asked."""
    request: dict[str, Any] = json.loads(result_json([(one, COMMITTED) for one in references]))
    return request


def test_instances_are_named_alone() -> None:  # K-01
    assert read_request(named(*ALONE), 10) == ALONE
    assert asked(ALONE) == named(*ALONE)


def test_instances_are_named_by_study_and_series() -> None:  # K-07
    request = {
        "00081110": sq(
            {
                "0020000D": ui("1.9"),
                "00081115": sq(
                    {
                        "0020000e": ui("1.9.1"),  # some write small digits
                        "00081112": sq(
                            {
                                "00081150": ui(CT),
                                "0008114a": sq(
                                    {"00081155": ui("1.2.3\0")}, {"00081155": ui("1.4")}
                                ),
                            }
                        ),
                    }
                ),
            }
        )
    }
    assert read_request(request, 10) == [
        Reference(CT, "1.2.3", "1.9", "1.9.1"),
        Reference(CT, "1.4", "1.9", "1.9.1"),
    ]
    assert read_request(asked(IN_STUDIES), 10) == IN_STUDIES


def test_both_forms_may_stand_in_one_request() -> None:
    assert read_request([asked(ALONE + IN_STUDIES)], 10) == ALONE + IN_STUDIES


def test_what_is_named_twice_counts_once() -> None:
    assert read_request(named(*ALONE, *ALONE, ALONE[0]), 2) == ALONE


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge, match="Up to 1 Inst"):
        read_request(named(*ALONE), 1)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        [],
        [{}, {}],
        7,
        None,
        "text",
        {"00081199": sq()},
        {"00081199": None},
        {"00081199": {"vr": "SQ", "Value": {}}},
        {"00081199": sq(None)},
        {"00081199": sq({})},
        {"00081199": sq({"00081150": ui(CT)})},
        {"00081199": sq({"00081150": ui(CT), "00081155": ui()})},
        {"00081199": sq({"00081150": ui(CT), "00081155": ui("1.2", "1.3")})},
        {"00081199": sq({"00081150": ui(CT), "00081155": ui(12)})},
        {"00081199": sq({"00081155": ui("1.2")})},
        {"00081110": sq({"0020000D": ui("1.9")})},
        {"00081110": sq({"0020000D": ui("1.9"), "00081115": sq({"0020000E": ui("1.9.1")})})},
    ],
)
def test_what_names_no_instance_is_refused(request_: Any) -> None:  # K-06
    with pytest.raises(InvalidRequest):
        read_request(request_, 10)


TAGS = ["00081199", "00081110", "00081115", "00081112", "0008114A", "00081150", "00081155"]
KEYS = st.sampled_from([*TAGS, "0020000D", "0020000E", "vr", "Value"])
PLAIN = st.none() | st.booleans() | st.integers() | st.sampled_from(["SQ", "1.2", "", "x\0"])
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)


@given(ANYTHING)
def test_whatever_is_sent_is_read_or_refused(request_: Any) -> None:
    with suppress(InvalidRequest, TooLarge):
        assert read_request(request_, 3)


@pytest.mark.parametrize("uid", ["", "a", "1..2", "1" * 65, "1.2 3", "../x"])
def test_what_is_no_uid_is_refused(uid: str) -> None:  # K-06
    with pytest.raises(InvalidUID):
        read_request(named(Reference(CT, uid)), 10)


def test_what_is_not_committed_stands_apart_with_its_reason() -> None:  # K-02
    reason = CommitmentFailure.CLASS_CONFLICT
    document = result_json([(ALONE[0], COMMITTED), (ALONE[1], reason)])
    dataset = Dataset.from_json(document.decode())
    (good,), (bad,) = dataset.ReferencedSOPSequence, dataset.FailedSOPSequence
    assert (good.ReferencedSOPClassUID, good.ReferencedSOPInstanceUID) == (CT, "1.2.1")
    assert "FailureReason" not in good
    assert (bad.ReferencedSOPClassUID, bad.ReferencedSOPInstanceUID) == (MR, "1.2.2")
    assert bad.FailureReason == 0x0119
    assert len(dataset) == 2


def test_studies_are_answered_as_studies() -> None:  # K-07
    results = [(one, COMMITTED) for one in IN_STUDIES[:3]]
    results += [(one, CommitmentFailure.NO_SUCH_INSTANCE) for one in IN_STUDIES[3:]]
    dataset = Dataset.from_json(result_json(results).decode())
    assert [element.keyword for element in dataset] == [
        "ReferencedStudySequence",
        "FailedStudySequence",
    ]
    (study,) = dataset.ReferencedStudySequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("1.9", "1.9.1")
    assert [
        (of_class.ReferencedSOPClassUID, [it.ReferencedSOPInstanceUID for it in those])
        for of_class in series.ReferencedInstancesBySOPClassSequence
        if (those := of_class.ReferencedInstanceSequence)
    ] == [(CT, ["1.2.3", "1.2.4"]), (MR, ["1.2.5"])]
    failed = [
        (study.StudyInstanceUID, series.SeriesInstanceUID, it.ReferencedSOPInstanceUID)
        for study in dataset.FailedStudySequence
        for series in study.ReferencedSeriesSequence
        for of_class in series.ReferencedInstancesBySOPClassSequence
        for it in of_class.ReferencedInstanceSequence
        if it.FailureReason == 0x0112
    ]
    assert failed == [("1.9", "1.9.2", "1.2.6"), ("1.8", "1.8.1", "1.2.7")]


def test_tags_are_in_ascending_order() -> None:
    results = [(one, reason) for one in ALONE + IN_STUDIES for reason in (COMMITTED, 0x0110)]

    def check(item: Any) -> None:
        assert list(item) == sorted(item)
        for element in item.values():
            for inner in element["Value"] if element["vr"] == "SQ" else ():
                check(inner)

    check(json.loads(result_json(results)))
