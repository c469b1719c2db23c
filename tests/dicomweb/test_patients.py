"""Search for Patients (GET /api/v1/patients)."""

from typing import Any

import httpx
import pytest
from pydicom import Dataset

from app.archive.context import Archive
from app.archive.patients import search_patients
from app.dicom.attributes import Level
from app.dicomweb.query import read_query
from app.errors import Forbidden
from app.rights import Principal, Scope
from tests.archive.test_store import store as store_into
from tests.dicomweb.conftest import HOST
from tests.dicomweb.test_wado_rs import store
from tests.factories import make_part10, make_series

PATIENTS = f"{HOST}/api/v1/patients"


async def found(client: httpx.AsyncClient, **params: Any) -> list[Dataset]:
    answer = await client.get(PATIENTS, params=params)
    assert answer.status_code in {200, 204}, answer.text
    return [Dataset.from_json(one) for one in answer.json()] if answer.content else []


@pytest.fixture
async def stored(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of an archive with three Patients and four Studies, of which one has two Series."""
    one = {"PatientID": "1", "IssuerOfPatientID": "A"}
    married = {**one, "PatientName": "Roe-Poe^Ann", "StudyDate": "20250101"}
    newest = make_series(2, **married, Modality="MR")
    again = make_series(1, **married, StudyInstanceUID=newest[0].StudyInstanceUID)
    one["PatientName"] = "Roe^Ann"
    oldest = make_series(1, **one, StudyDate="20200101", OtherPatientNames="Poe^Ann")
    other = make_series(
        1, PatientID="1", IssuerOfPatientID="B", PatientName="Müller^Änne=山田^花子"
    )
    nobody = make_series(1, PatientID="", IssuerOfPatientID=None, PatientName="Doe^Jane")
    for dataset in [*newest, *again, *oldest, *other, *nobody]:
        await store(client, make_part10(dataset))
    return client


async def test_a_patient_is_an_id_and_its_issuer_with_all_that_it_has(
    stored: httpx.AsyncClient,
) -> None:
    patients = await found(stored)
    assert [(one.PatientID or "", one.IssuerOfPatientID) for one in patients] == [
        ("", ""),
        ("1", "A"),
        ("1", "B"),
    ]
    ann = patients[1]
    assert ann.PatientName == "Roe-Poe^Ann"  # as the newest Study has it
    counts = (
        ann.NumberOfPatientRelatedStudies,
        ann.NumberOfPatientRelatedSeries,
        ann.NumberOfPatientRelatedInstances,
    )
    assert counts == (2, 3, 4)
    assert patients[2].PatientName == "Müller^Änne=山田^花子"
    assert patients[2].SpecificCharacterSet == "ISO_IR 192"
    assert "StudyInstanceUID" not in ann
    assert "OtherPatientNames" not in ann


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"PatientName": "muller^anne"}, ["Müller^Änne=山田^花子"]),
        ({"PatientName": "山田*"}, ["Müller^Änne=山田^花子"]),
        ({"PatientName": "Roe*"}, ["Roe-Poe^Ann"]),
        ({"PatientName": "Roe^Ann"}, ["Roe^Ann"]),  # as the newest that matches has it
        ({"PatientName": "Mueller", "fuzzymatching": "true"}, ["Müller^Änne=山田^花子"]),
        ({"PatientID": "1", "IssuerOfPatientID": "B"}, ["Müller^Änne=山田^花子"]),
        ({"StudyDate": "20200101"}, ["Roe^Ann"]),
        ({"StudyDate": "-20241231", "PatientID": "1", "IssuerOfPatientID": "A"}, ["Roe^Ann"]),
        ({"Modality": "MR"}, ["Roe-Poe^Ann"]),
        ({"OtherPatientNames": "Poe^Ann"}, ["Roe^Ann"]),
        ({"limit": "1", "offset": "1"}, ["Roe-Poe^Ann"]),
        ({"PatientID": "2"}, []),
    ],
)
async def test_patients_are_matched_by_keys_of_any_level(
    stored: httpx.AsyncClient, keys: dict[str, str], names: list[str]
) -> None:
    assert [one.PatientName for one in await found(stored, **keys)] == names


async def test_more_is_returned_when_asked_for(stored: httpx.AsyncClient) -> None:
    for include in ("OtherPatientNames", "all"):
        (one,) = await found(stored, StudyDate="20200101", includefield=include)
        assert one.OtherPatientNames == "Poe^Ann"
    (one,) = await found(stored, StudyDate="20250101", includefield="OtherPatientNames,EthnicGroup")
    assert one["EthnicGroup"].is_empty
    answer = await stored.get(PATIENTS, params={"includefield": "StudyID,KVP", "limit": 1})
    warning = answer.headers["warning"]
    assert "The includefield StudyID is not returned in a search for Patients" in warning
    assert warning.count("KVP") == 1
    assert "There are 2 additional results" in warning


async def test_patients_come_in_xml_and_nothing_else(stored: httpx.AsyncClient) -> None:
    accept = 'multipart/related; type="application/dicom+xml"'
    answer = await stored.get(PATIENTS, headers={"accept": accept})
    assert answer.content.count(b"<NativeDicomModel") == 3
    assert (await stored.get(PATIENTS, headers={"accept": "image/png"})).status_code == 406
    assert (await stored.get(PATIENTS, params={"StudyDate": "x"})).status_code == 400
    assert (await stored.get(PATIENTS, params={"offset": 3})).status_code == 204


async def test_only_studies_in_scope_make_a_patient_and_count(
    archive: Archive, principal: Principal
) -> None:
    seen, hidden, other = (
        make_series(1, PatientID="1"),
        make_series(1, PatientID="1"),
        make_series(1, PatientID="2"),
    )
    await store_into(archive, principal, *map(make_part10, [*seen, *hidden, *other]))
    mine = Principal("mine", Scope(studies=frozenset({str(seen[0].StudyInstanceUID)})))
    query = read_query(b"", Level.STUDY)
    (row,) = (await search_patients(archive, mine, query)).rows
    one = Dataset.from_json(row)
    assert (one.PatientID, one.NumberOfPatientRelatedStudies) == ("1", 1)
    with pytest.raises(Forbidden):
        await search_patients(archive, Principal("nobody", verbs=frozenset()), query)
