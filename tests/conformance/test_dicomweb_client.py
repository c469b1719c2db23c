"""`dicomweb-client` against a server that was started as a user starts it. # I-08, G-28"""

from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGLSLossless

from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer

RETRIEVE_URL = "00081190"
OVERLAY = bytes(range(256)) * 32


def _uids(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def _with_file_meta(datasets: list[Dataset]) -> list[Dataset]:
    return [dcmread(BytesIO(make_part10(dataset))) for dataset in datasets]


@pytest.fixture(scope="module")
def series(live_server: LiveServer) -> list[Dataset]:
    """A stored Series of five Instances with an overlay, which is bulk data."""
    patient = {"PatientID": new_uid()[-12:], "PatientName": "Ärger^Søren"}
    datasets = make_series(5, **patient)
    for dataset in datasets:
        dataset.add_new(0x60003000, "OW", OVERLAY)
    stored = _with_file_meta(datasets)
    with requests.Session() as session:
        DICOMwebClient(url=live_server.dicomweb, session=session).store_instances(stored)
    return stored


def test_store_reports_every_instance_with_a_url_that_works(dicomweb: DICOMwebClient) -> None:
    datasets = _with_file_meta(make_series(3))
    report = dicomweb.store_instances(datasets)  # S-08 S-10
    assert "FailedSOPSequence" not in report
    stored = {item.ReferencedSOPInstanceUID: item for item in report.ReferencedSOPSequence}
    assert set(stored) == {dataset.SOPInstanceUID for dataset in datasets}
    for dataset in datasets:
        url = stored[dataset.SOPInstanceUID].RetrieveURL
        assert "/series/" in url  # MONAI Label greps for it
        (metadata,) = dicomweb._http_get_application_json(f"{url}/metadata")
        assert metadata["00080018"]["Value"] == [dataset.SOPInstanceUID]
    assert dicomweb._http_get_application_json(f"{report.RetrieveURL}/series")


def test_a_store_over_a_megabyte_is_sent_in_chunks_and_arrives(dicomweb: DICOMwebClient) -> None:
    (dataset,) = _with_file_meta([make_dataset(Rows=1024, Columns=1024)])  # G-20
    dicomweb.store_instances([dataset])
    assert dicomweb.retrieve_instance(*_uids(dataset)) == dataset


def test_studies_are_found_by_patient_date_and_modality(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    first = series[0]
    filters = {
        "PatientID": first.PatientID,
        "PatientName": "*soren*",
        "StudyDate": f"{first.StudyDate}-{first.StudyDate}",
        "ModalitiesInStudy": "CT",
    }
    (study,) = dicomweb.search_for_studies(search_filters=filters, fields=["00081030", "00100030"])
    found = Dataset.from_json(study)
    assert found.StudyInstanceUID == first.StudyInstanceUID
    assert found.NumberOfStudyRelatedInstances == 5
    assert found.StudyDescription == first.StudyDescription
    assert found.PatientBirthDate == first.PatientBirthDate


def test_series_and_instances_are_found_below_their_study(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    study, series_uid, _ = _uids(series[0])
    (found,) = dicomweb.search_for_series(study, search_filters={"Modality": "CT"})
    assert found["0020000E"]["Value"] == [series_uid]
    instances = dicomweb.search_for_instances(study, series_uid)
    numbers = [instance["00200013"]["Value"][0] for instance in instances]
    assert sorted(numbers) == [1, 2, 3, 4, 5]


def test_pages_of_instances_are_disjoint_and_complete(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    study, series_uid, _ = _uids(series[0])
    pages = [
        dicomweb.search_for_instances(study, series_uid, limit=2, offset=offset)
        for offset in (0, 2, 4)
    ]
    uids = [instance["00080018"]["Value"][0] for page in pages for instance in page]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert set(uids) == {dataset.SOPInstanceUID for dataset in series}


def test_relational_searches_find_across_studies(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    _, series_uid, instance_uid = _uids(series[0])
    (found,) = dicomweb.search_for_series(search_filters={"SeriesInstanceUID": series_uid})
    assert found["00100020"]["Value"] == [series[0].PatientID]
    (found,) = dicomweb.search_for_instances(search_filters={"SOPInstanceUID": instance_uid})
    assert found["0020000E"]["Value"] == [series_uid]


def test_a_search_without_a_match_is_an_empty_list(dicomweb: DICOMwebClient) -> None:
    assert dicomweb.search_for_studies(search_filters={"PatientID": "nobody has this"}) == []


def test_urls_in_search_answers_work_though_the_client_sends_host_without_port(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    study, series_uid, _ = _uids(series[0])
    levels = [
        dicomweb.search_for_studies(search_filters={"StudyInstanceUID": study}),
        dicomweb.search_for_series(study),
        dicomweb.search_for_instances(study, series_uid),
    ]
    for level in levels:
        url = level[0][RETRIEVE_URL]["Value"][0]
        assert dicomweb._http_get_application_json(f"{url}/metadata")


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_metadata_equals_what_was_stored(
    dicomweb: DICOMwebClient, series: list[Dataset], level: str
) -> None:
    study, series_uid, instance_uid = _uids(series[0])
    answers = {
        "study": lambda: dicomweb.retrieve_study_metadata(study),
        "series": lambda: dicomweb.retrieve_series_metadata(study, series_uid),
        "instance": lambda: [dicomweb.retrieve_instance_metadata(study, series_uid, instance_uid)],
    }[level]()
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in series}
    assert len(answers) == (1 if level == "instance" else 5)
    for answer in answers:
        found = Dataset.from_json(
            answer, bulk_data_uri_handler=lambda uri: b"".join(dicomweb.retrieve_bulkdata(uri))
        )
        assert found == by_uid[found.SOPInstanceUID]


def test_bulk_data_is_fetched_from_the_uri_in_the_metadata(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    metadata = dicomweb.retrieve_instance_metadata(*_uids(series[0]))
    for tag, expected in (("60003000", OVERLAY), ("7FE00010", bytes(series[0].PixelData))):
        uri = metadata[tag]["BulkDataURI"]  # J-17 W-08
        assert dicomweb.retrieve_bulkdata(uri) == [expected]
        octets = (("application/octet-stream", "*"),)
        assert dicomweb.retrieve_bulkdata(uri, media_types=octets) == [expected]
        assert b"".join(dicomweb.iter_bulkdata(uri)) == expected


def test_instances_come_back_equal_at_every_level(
    dicomweb: DICOMwebClient, series: list[Dataset]
) -> None:
    study, series_uid, _ = _uids(series[0])
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in series}
    assert dicomweb.retrieve_instance(*_uids(series[0])) == series[0]
    for received in (
        dicomweb.retrieve_series(study, series_uid),
        dicomweb.retrieve_study(study),
        list(dicomweb.iter_series(study, series_uid)),
    ):
        assert {dataset.SOPInstanceUID for dataset in received} == set(by_uid)
        assert all(dataset == by_uid[dataset.SOPInstanceUID] for dataset in received)


def test_frames_of_a_multi_frame_instance_come_in_the_order_asked(
    dicomweb: DICOMwebClient,
) -> None:
    (dataset,) = _with_file_meta([make_dataset(NumberOfFrames=4, Rows=8, Columns=8)])
    dicomweb.store_instances([dataset])
    pixels = bytes(dataset.PixelData)
    size = len(pixels) // 4
    frames = [pixels[at : at + size] for at in range(0, len(pixels), size)]
    for media_types in (None, ("application/octet-stream",), (("application/octet-stream", "*"),)):
        received = dicomweb.retrieve_instance_frames(
            *_uids(dataset), frame_numbers=[3, 1], media_types=media_types
        )
        assert received == [frames[2], frames[0]]


def test_compressed_frames_come_decoded_or_as_they_are(dicomweb: DICOMwebClient) -> None:
    dataset = make_dataset(Rows=32, Columns=32)
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(32, 32)
    code = bytes(imagecodecs.jpegls_encode(pixels))
    part10 = make_part10(dataset, transfer_syntax=JPEGLSLossless, frames=[code])
    dicomweb._http_post_multipart_application_dicom(f"{dicomweb.base_url}/studies", [part10])
    (decoded,) = dicomweb.retrieve_instance_frames(
        *_uids(dataset), frame_numbers=[1], media_types=("application/octet-stream",)
    )
    assert decoded == dataset.PixelData
    (stored,) = dicomweb.retrieve_instance_frames(
        *_uids(dataset), frame_numbers=[1], media_types=(("image/jls", JPEGLSLossless),)
    )
    assert stored.removesuffix(b"\0") == code.removesuffix(b"\0")  # a fragment has even length
