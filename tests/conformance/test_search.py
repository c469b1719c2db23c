"""Search (PS3.18 §10.6, CONFORMANCE group Q): each key that the standard asks for, over HTTP."""

import httpx
import pytest
from pydicom import Dataset

from tests.conformance.wire import JSON, get, get_json, path_of, store, study_path
from tests.factories import make_dataset, make_part10, new_uid

STUDY_KEYS = [
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "StudyID",
]
SERIES_KEYS = ["Modality", "SeriesInstanceUID", "SeriesNumber"]
INSTANCE_KEYS = ["SOPClassUID", "SOPInstanceUID", "InstanceNumber"]


@pytest.fixture
def stored(http: httpx.Client) -> Dataset:
    """An Instance that differs from all others in every key."""
    number = new_uid().rpartition(".")[2]
    dataset = make_dataset(
        StudyDate="19991231",
        StudyTime="235959",
        AccessionNumber=f"ACC{number}",
        ReferringPhysicianName=f"Refer{number}^Rita",
        PatientName=f"Only{number}^One",
        PatientID=f"PID{number}",
        StudyID=f"SID{number}",
        Modality="US",
        SeriesNumber=str(700000 + int(number)),
        InstanceNumber=str(800000 + int(number)),
        SOPClassUID=new_uid(),
    )
    assert store(http, make_part10(dataset)).status_code == 200
    return dataset


def _matches(http: httpx.Client, path: str, tag: str, **keys: str) -> list[str]:
    query = httpx.QueryParams(keys)
    return [item[tag]["Value"][0] for item in get_json(http, f"{path}?{query}")]


@pytest.mark.parametrize("key", STUDY_KEYS)
def test_a_study_is_found_by_every_key_of_its_level(
    http: httpx.Client, stored: Dataset, key: str
) -> None:
    found = _matches(http, "/dicom-web/studies", "0020000D", **{key: str(stored[key].value)})
    assert stored.StudyInstanceUID in found
    other = f"1{new_uid()}"[:60] if key.endswith("UID") else "19000101"
    assert stored.StudyInstanceUID not in _matches(
        http, "/dicom-web/studies", "0020000D", **{key: "000000" if "Time" in key else other}
    )


@pytest.mark.parametrize("key", SERIES_KEYS)
@pytest.mark.parametrize("below", [True, False])
def test_a_series_is_found_by_every_key_of_its_level(
    http: httpx.Client, stored: Dataset, key: str, below: bool
) -> None:
    path = f"{study_path(stored)}/series" if below else "/dicom-web/series"
    found = _matches(http, path, "0020000E", **{key: str(stored[key].value)})
    assert stored.SeriesInstanceUID in found  # Q-14 Q-02 Q-04


@pytest.mark.parametrize("key", INSTANCE_KEYS)
@pytest.mark.parametrize("level", ["series", "study", "all"])
def test_an_instance_is_found_by_every_key_of_its_level(
    http: httpx.Client, stored: Dataset, key: str, level: str
) -> None:
    path = {
        "series": path_of(stored).rpartition("/")[0],
        "study": f"{study_path(stored)}/instances",
        "all": "/dicom-web/instances",
    }[level]
    found = _matches(http, path, "00080018", **{key: str(stored[key].value)})
    assert stored.SOPInstanceUID in found


def test_every_answer_of_a_search_is_dicom_json(http: httpx.Client, stored: Dataset) -> None:
    for path in ("/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances"):
        query = f"{path}?PatientID={stored.PatientID}&includefield=all"
        (item,) = get_json(http, query)
        assert list(item) == sorted(item)
        for tag, element in item.items():
            assert len(tag) == 8
            assert tag == tag.upper()
            assert set(element) <= {"vr", "Value", "BulkDataURI", "InlineBinary"}
            assert element.get("Value") != []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("jovanovich^milica", True),
        ("Milica Jovanowitsch", True),
        ("jovanovci", True),
        ("jovan", True),
        ("јованович", False),
        ("Jovanović^Marko", False),
        ("Markovic", False),
    ],
)
def test_names_that_are_nearly_so_are_found_where_that_is_asked_for(
    http: httpx.Client, value: str, found: bool
) -> None:
    dataset = make_dataset(PatientName="Jovanović^Milica", PatientID=f"FUZZY{new_uid()[-9:]}")
    store(http, make_part10(dataset))
    keys = {"PatientID": dataset.PatientID, "PatientName": value}
    for path in ("/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances"):
        answer = get(http, f"{path}?{httpx.QueryParams({**keys, 'fuzzymatching': 'true'})}", JSON)
        assert answer.status_code == (200 if found else 204)
        assert "Warning" not in answer.headers
    literal = get(http, f"/dicom-web/studies?{httpx.QueryParams(keys)}", JSON)
    assert literal.status_code == 204


def test_any_attribute_is_a_key(http: httpx.Client) -> None:
    dataset = make_dataset(SliceThickness="3.75", PatientAge="071Y", PatientName="Key^Any")
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "ours")
    store(http, make_part10(dataset))
    study, below = f"StudyInstanceUID={dataset.StudyInstanceUID}", study_path(dataset)
    for key, found in (
        ("SliceThickness=3.75", True),
        ("00180050=3.750", True),
        ("SliceThickness=3.7", False),
        ("PatientAge=071Y", True),
        ("00090010=ACME&00091001=o?rs", True),
        ("00090010=ACME&00091001=theirs", False),
        ("RequestAttributesSequence.ScheduledProcedureStepDescription=x", False),
    ):
        for path in (
            f"/dicom-web/studies?{study}&{key}",
            f"/dicom-web/instances?{study}&{key}",
            f"{below}/series?{key}",
            f"{below}/instances?{key}",
        ):
            assert get(http, path, JSON).status_code == (200 if found else 204), path
