"""C-FIND at all levels, held against what QIDO-RS answers and what DCMTK's findscu prints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from app.mime.multipart import closing, part_header
from tests.bridges import RunningBridge, associated, bridge_to, called, dcmtk
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer

STUDY_ROOT = str(StudyRootQueryRetrieveInformationModelFind)
PATIENT_ROOT = str(PatientRootQueryRetrieveInformationModelFind)
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"
MARK = f"FIND-{new_uid()[-12:]}"


@pytest.fixture(scope="module")
def stored(archive: LiveServer) -> dict[str, Any]:
    """Two Studies of one Patient and one of another, with a Series of several Instances."""
    one = {"PatientID": f"{MARK}-1", "PatientName": YAMADA, "StudyDescription": f"{MARK} Thorax"}
    two = {"PatientID": f"{MARK}-2", "PatientName": "Müller^Änne", "StudyDescription": MARK}
    series = make_series(5, **one, AccessionNumber="A1")
    more = [
        make_dataset(**one, AccessionNumber="A2", Modality="MR", StudyDate="20250101"),
        make_dataset(**two, AccessionNumber="A3"),
    ]
    with httpx.Client() as client:
        for dataset in (*series, *more):
            sent = client.post(
                f"{archive.dicomweb}/studies",
                content=make_part10(dataset),
                headers={"Content-Type": "application/dicom"},
            )
            assert sent.status_code == 200
    return {"series": series, "more": more}


def _find(
    bridge: RunningBridge,
    level: str,
    model: str = STUDY_ROOT,
    syntax: str = ExplicitVRLittleEndian,
    **keys: Any,
) -> tuple[list[Dataset], int]:
    """Return the matches, and the last status."""
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    found: list[Dataset] = []
    with associated(bridge, (model, syntax)) as association:
        for status, identifier in association.send_c_find(query, model):
            if identifier is None:
                return found, int(status.Status)
            found.append(identifier)
    raise AssertionError("no last response")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_studies_have_what_was_asked_for_and_nothing_else(
    bridge: RunningBridge, stored: dict[str, Any], syntax: str
) -> None:
    found, status = _find(
        bridge,
        "STUDY",
        syntax=syntax,
        SpecificCharacterSet="ISO_IR 192",
        PatientID=f"{MARK}-1",
        AccessionNumber="",
        PatientName="",
        ModalitiesInStudy="",
        NumberOfStudyRelatedInstances="",
    )
    assert status == 0
    assert {(one.AccessionNumber, one.NumberOfStudyRelatedInstances) for one in found} == {
        ("A1", 5),
        ("A2", 1),
    }
    assert {str(one.PatientName) for one in found} == {YAMADA}
    assert {one.keyword for one in found[0]} == {
        "SpecificCharacterSet",
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "PatientID",
        "AccessionNumber",
        "PatientName",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances",
    }


@pytest.mark.parametrize(
    ("level", "keys", "count"),
    [
        ("STUDY", {"StudyDescription": f"{MARK}*"}, 3),
        ("STUDY", {"StudyDescription": f"{MARK}*", "ModalitiesInStudy": "MR"}, 1),
        ("STUDY", {"StudyDescription": f"{MARK}*", "StudyDate": "20241231-"}, 1),
        ("STUDY", {"PatientName": "yamada*", "StudyDescription": f"{MARK}*"}, 2),
        ("STUDY", {"PatientName": "=山田*", "StudyDescription": f"{MARK}*"}, 2),
        ("STUDY", {"PatientID": f"{MARK}-?"}, 3),
        ("STUDY", {"PatientID": f"{MARK}-9"}, 0),
        ("SERIES", {"StudyDescription": f"{MARK}*"}, 3),
        ("SERIES", {"StudyDescription": f"{MARK}*", "Modality": "CT"}, 2),
        ("IMAGE", {"StudyDescription": f"{MARK}*"}, 7),
        ("IMAGE", {"StudyDescription": f"{MARK}*", "InstanceNumber": "3"}, 1),
    ],
)
def test_keys_match_as_they_do_on_the_web(
    bridge: RunningBridge, stored: dict[str, Any], level: str, keys: dict[str, str], count: int
) -> None:
    found, status = _find(bridge, level, SpecificCharacterSet="ISO_IR 192", **keys)
    assert (len(found), status) == (count, 0)


def test_patients_are_found_once_each(bridge: RunningBridge, stored: dict[str, Any]) -> None:
    found, status = _find(
        bridge,
        "PATIENT",
        PATIENT_ROOT,
        PatientID=f"{MARK}-*",
        PatientName="",
        NumberOfPatientRelatedStudies="",
    )
    assert status == 0
    assert {(one.PatientID, one.NumberOfPatientRelatedStudies) for one in found} == {
        (f"{MARK}-1", 2),
        (f"{MARK}-2", 1),
    }


def test_a_list_of_uids_finds_each(bridge: RunningBridge, stored: dict[str, Any]) -> None:
    uids = [dataset.SOPInstanceUID for dataset in stored["series"][:3]]
    found, _ = _find(bridge, "IMAGE", SOPInstanceUID=uids)
    assert {one.SOPInstanceUID for one in found} == set(uids)


@pytest.mark.parametrize(
    ("asked", "utf8", "answered"),
    [
        ("ISO_IR 100", False, "ISO_IR 192"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], False, ["ISO 2022 IR 6", "ISO 2022 IR 87"]),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], True, "ISO_IR 192"),
    ],
)
def test_ideographs_are_never_lost(
    archive: LiveServer, stored: dict[str, Any], asked: Any, utf8: bool, answered: Any
) -> None:
    with bridge_to(archive, utf8=utf8) as bridge:
        found, _ = _find(
            bridge, "STUDY", SpecificCharacterSet=asked, PatientID=f"{MARK}-1", PatientName=""
        )
    assert {str(one.PatientName) for one in found} == {YAMADA}
    assert found[0].SpecificCharacterSet == answered


@pytest.mark.parametrize("model", ["-S", "-P"])
def test_findscu_writes_what_it_finds(
    bridge: RunningBridge, stored: dict[str, Any], tmp_path: Path, model: str
) -> None:
    keys = ["QueryRetrieveLevel=STUDY", f"PatientID={MARK}-2", "StudyInstanceUID", "PatientName"]
    options = [part for key in keys for part in ("-k", key)]
    dcmtk("findscu", model, "-X", "-od", tmp_path, *called(bridge), *options)
    (path,) = tmp_path.iterdir()
    found = dcmread(path, force=True)
    assert found.StudyInstanceUID == stored["more"][1].StudyInstanceUID
    assert str(found.PatientName) == "Müller^Änne"


@pytest.mark.parametrize(
    "keys",
    [{"QueryRetrieveLevel": "FRAME"}, {"QueryRetrieveLevel": None}, {"RetrieveURL": "http://here"}],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(
    bridge: RunningBridge, keys: dict[str, Any]
) -> None:
    found, status = _find(bridge, "STUDY", **keys)
    assert (found, status) == ([], 0xA900)


def test_study_root_has_no_patient_level(bridge: RunningBridge, stored: dict[str, Any]) -> None:
    found, status = _find(bridge, "PATIENT", PatientID=f"{MARK}-1")
    assert (found, status) == ([], 0xA900)


@pytest.mark.parametrize("key", ["SOPInstanceUID", "StudyInstanceUID"])
def test_lists_of_uids_longer_than_a_url_are_asked_for_in_parts(
    bridge: RunningBridge, stored: dict[str, Any], key: str
) -> None:
    """More than the archive takes in a URL; what is named twice is answered once."""
    known = [dataset[key].value for dataset in stored["series"]]
    others = [f"1.2.826.0.1.{number}".ljust(64, "1") for number in range(10_000, 12_000)]
    named: dict[str, Any] = {key: [*known, *others, *known]}
    found, status = _find(bridge, "IMAGE", syntax=ImplicitVRLittleEndian, **named)
    assert status == 0
    assert sorted(one[key].value for one in found) == sorted(known)


def test_other_values_longer_than_a_url_are_refused(bridge: RunningBridge) -> None:
    found, status = _find(bridge, "STUDY", syntax=ImplicitVRLittleEndian, TextValue="x" * 70_000)
    assert (found, status) == ([], 0xA900)


def test_a_query_is_cancelled_between_two_matches(
    bridge: RunningBridge, stored: dict[str, Any]
) -> None:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.SOPInstanceUID = ""
    with associated(bridge, (STUDY_ROOT, ExplicitVRLittleEndian)) as association:
        answers = association.send_c_find(query, STUDY_ROOT, msg_id=7)
        next(answers)
        association.send_c_cancel(7, query_model=STUDY_ROOT)
        statuses = [int(status.Status) for status, _ in answers]
    assert statuses[-1] in {0xFE00, 0}  # a cancel may come too late (PS3.7 §9.3.2.3)
    assert set(statuses[:-1]) <= {0xFF00}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_private_keys_are_matched_in_each_transfer_syntax(
    archive: LiveServer, bridge: RunningBridge, syntax: str
) -> None:
    datasets = make_series(2, StudyInstanceUID=new_uid())
    for dataset, value in zip(datasets, ("this one", "that one"), strict=True):
        dataset.private_block(0x0009, "ACME", create=True).add_new(1, "LO", value)
        part, headers = make_part10(dataset), {"Content-Type": "application/dicom"}
        httpx.post(f"{archive.dicomweb}/studies", content=part, headers=headers)
    query = Dataset()
    query.QueryRetrieveLevel, query.SOPInstanceUID = "IMAGE", ""
    query.StudyInstanceUID = datasets[0].StudyInstanceUID
    query.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "this one")
    with associated(bridge, (STUDY_ROOT, syntax)) as association:
        found = [one for _, one in association.send_c_find(query, STUDY_ROOT) if one is not None]
    assert [one.SOPInstanceUID for one in found] == [datasets[0].SOPInstanceUID]


@pytest.mark.parametrize(
    ("key", "vr", "value", "pending"),
    [
        (0x00080061, "CS", "", 0xFF00),  # Modalities in Study
        (0x00080201, "SH", "+0900", 0xFF00),  # no date is shifted: that is not negotiated
        (0x00280010, "US", None, 0xFF01),  # Rows, of no Study
        (0x00091001, "UN", b"\x01\x00\xff\x00", 0xFF01),
        (0x00420011, "OB", b"text", 0xFF01),  # Encapsulated Document
    ],
)
def test_who_asks_by_a_key_that_is_not_supported_is_told(
    bridge: RunningBridge, stored: dict[str, Any], key: int, vr: str, value: Any, pending: int
) -> None:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyDate = "STUDY", "20250101"
    query.StudyDescription = f"{MARK}*"
    query.add_new(key, vr, value)
    with associated(bridge, (STUDY_ROOT, ImplicitVRLittleEndian)) as association:
        statuses = [one.Status for one, _ in association.send_c_find(query, STUDY_ROOT)]
    assert statuses == [pending, 0]


def test_more_than_a_page_is_found(archive: LiveServer, bridge: RunningBridge) -> None:
    study = new_uid()
    series = make_series(250, StudyInstanceUID=study, Rows=2, Columns=2)
    boundary = "b" * 16
    parts = [
        part_header(boundary, {"Content-Type": "application/dicom"}) + make_part10(one)
        for one in series
    ]
    body = b"".join(parts) + closing(boundary)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    sent = httpx.post(
        f"{archive.dicomweb}/studies", content=body, headers={"Content-Type": kind}, timeout=60
    )
    assert sent.status_code == 200
    found, _ = _find(bridge, "IMAGE", StudyInstanceUID=study, SOPInstanceUID="")
    assert len({one.SOPInstanceUID for one in found}) == 250


def _negotiated() -> Iterator[SOPClassExtendedNegotiation]:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = STUDY_ROOT
    item.service_class_application_information = b"\1\1\1\1\1"
    yield item


def test_relational_queries_and_fuzzy_names_are_negotiated(
    bridge: RunningBridge, stored: dict[str, Any]
) -> None:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientName = "Mueler^Anne"
    query.StudyDescription = f"{MARK}*"
    pair = (STUDY_ROOT, ExplicitVRLittleEndian)
    with associated(bridge, pair, ext_neg=list(_negotiated())) as association:
        assert association.acceptor.sop_class_extended == {STUDY_ROOT: b"\1\0\1\0\0"}
        found = [one for _, one in association.send_c_find(query, STUDY_ROOT) if one]
    assert [str(one.StudyDescription) for one in found] == [MARK]
