import orjson
import pytest

from app.dicom.store_report import (
    Failed,
    FailureReason,
    Outcome,
    Stored,
    StoreReport,
    report_json,
)
from app.dicom.uids import InstanceRef

BASE = "https://pacs.example/dicom-web"
STORED = Stored(InstanceRef("1.1", "1.1.1", "1.1.1.1"), "1.2.840.10008.5.1.4.1.1.2")
FAILED = Failed(FailureReason.DUPLICATE_INSTANCE, "it stays", "1.2.3", "1.2.3.4")
UNNAMED = Failed(FailureReason.CANNOT_UNDERSTAND, "this is no DICOM" * 10)


@pytest.mark.parametrize(
    ("results", "outcome"),
    [
        ([STORED], Outcome.ALL_STORED),
        ([STORED, FAILED], Outcome.SOME_STORED),
        ([FAILED], Outcome.NONE_STORED),
    ],
)
def test_the_outcome_is_of_all_together(results: list[Stored | Failed], outcome: Outcome) -> None:
    assert StoreReport(results).outcome is outcome


def test_a_response_is_one_object_in_tag_order() -> None:  # S-14
    response = orjson.loads(report_json(StoreReport([FAILED, STORED, UNNAMED]), BASE))
    assert list(response) == ["00081190", "00081198", "00081199", "0008119A"]
    for sequence in list(response)[1:]:
        for item in response[sequence]["Value"]:
            assert list(item) == sorted(item)


def test_what_is_stored_is_listed_with_its_url() -> None:  # S-08, S-10
    response = orjson.loads(report_json(StoreReport([STORED]), BASE))
    assert response == {
        "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.1"]},
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
                    "00081155": {"vr": "UI", "Value": ["1.1.1.1"]},
                    "00081190": {
                        "vr": "UR",
                        "Value": [f"{BASE}/studies/1.1/series/1.1.1/instances/1.1.1.1"],
                    },
                }
            ],
        },
    }


def test_what_failed_is_listed_with_its_reason() -> None:  # S-09
    response = orjson.loads(report_json(StoreReport([FAILED]), BASE))
    assert response == {
        "00081190": {"vr": "UR"},
        "00081198": {
            "vr": "SQ",
            "Value": [
                {
                    "00000902": {"vr": "LO", "Value": ["it stays"]},
                    "00081150": {"vr": "UI", "Value": ["1.2.3"]},
                    "00081155": {"vr": "UI", "Value": ["1.2.3.4"]},
                    "00081197": {"vr": "US", "Value": [0x0111]},
                }
            ],
        },
    }


def test_what_is_no_instance_is_among_the_other_failures() -> None:
    response = orjson.loads(report_json(StoreReport([UNNAMED]), BASE))
    (item,) = response["0008119A"]["Value"]
    assert item["00081197"]["Value"] == [0xC000]
    assert item["00000902"]["Value"][0].endswith("this is no")  # LO, cut after a word


def test_a_url_of_the_study_stands_only_where_it_is_one() -> None:
    other = Stored(InstanceRef("2.2", "2.2.2", "2.2.2.2"), "1.2.3")
    response = orjson.loads(report_json(StoreReport([STORED, other]), BASE))
    assert response["00081190"] == {"vr": "UR"}


def test_what_is_of_no_patient_is_named_by_its_category() -> None:  # N-01
    palette = Stored(InstanceRef("", "", "2.2.2.2"), "1.2.840.10008.5.1.4.39.1")
    response = orjson.loads(report_json(StoreReport([palette]), BASE))
    (item,) = response["00081199"]["Value"]
    assert item["00081190"]["Value"] == [f"{BASE}/color-palettes/2.2.2.2"]
    assert response["00081190"] == {"vr": "UR"}
    response = orjson.loads(report_json(StoreReport([palette, STORED]), BASE))
    assert response["00081190"]["Value"] == [f"{BASE}/studies/1.1"]
