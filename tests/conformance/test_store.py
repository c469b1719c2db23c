"""Store Instances (PS3.18 §10.5, CONFORMANCE group S), over real connections."""

from collections.abc import Callable
from functools import partial

import httpx
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.conformance.wire import (
    DICOM_PARTS,
    FAILED,
    JSON,
    OTHER_FAILURES,
    REASON,
    STORED,
    body_of,
    get,
    get_json,
    path_of,
    store,
    study_path,
)
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer


def _uids(answer: httpx.Response, sequence: str) -> list[str]:
    items = answer.json().get(sequence, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def test_each_part_of_a_request_is_stored_and_seen_at_once(http: httpx.Client) -> None:
    datasets = make_series(4)
    answer = store(http, *map(make_part10, datasets))  # S-01 S-04
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == JSON
    assert _uids(answer, STORED) == [dataset.SOPInstanceUID for dataset in datasets]
    assert FAILED not in answer.json()
    (study,) = get_json(http, f"/dicom-web/studies?StudyInstanceUID={datasets[0].StudyInstanceUID}")
    assert study["00201208"]["Value"] == [4]  # S-25 Q-60
    for dataset in datasets:
        assert get(http, path_of(dataset)).status_code == 200


def test_a_report_names_class_instance_and_a_url_that_works(http: httpx.Client) -> None:
    dataset = make_dataset()
    report = store(http, make_part10(dataset)).json()
    (item,) = report[STORED]["Value"]
    assert item["00081150"]["Value"] == [dataset.SOPClassUID]  # S-08
    assert get(http, item["00081190"]["Value"][0]).status_code == 200  # S-10
    assert get(http, report["00081190"]["Value"][0]).status_code == 200


def test_a_store_below_a_study_takes_only_its_instances(http: httpx.Client) -> None:
    ours, other = make_dataset(), make_dataset()
    parts = [make_part10(ours), make_part10(other)]
    answer = store(http, *parts, path=study_path(ours))  # S-02 S-05
    assert answer.status_code == 202
    assert _uids(answer, STORED) == [ours.SOPInstanceUID]
    assert _uids(answer, FAILED) == [other.SOPInstanceUID]
    alone = store(http, make_part10(other), path=study_path(ours))
    assert alone.status_code == 409  # S-03
    assert get(http, study_path(other)).status_code == 404


def test_a_failure_names_class_instance_and_a_reason_in_number(http: httpx.Client) -> None:
    first = make_dataset()
    other = make_dataset(
        SOPInstanceUID=first.SOPInstanceUID,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        PatientID="someone else",
    )
    store(http, make_part10(first))
    answer = store(http, make_part10(other))
    assert answer.status_code == 409  # S-06 S-16
    (item,) = answer.json()[FAILED]["Value"]
    assert item["00081150"]["Value"] == [first.SOPClassUID]  # S-09
    assert item["00081155"]["Value"] == [first.SOPInstanceUID]
    assert item[REASON] == {"vr": "US", "Value": [0x0111]}  # S-11
    (kept,) = get_json(http, f"{path_of(first)}/metadata")
    assert kept["00100020"]["Value"] == [first.PatientID]


def test_the_same_instance_again_is_a_success(http: httpx.Client) -> None:
    part10 = make_part10()
    assert store(http, part10).status_code == 200
    again = store(http, part10)
    assert again.status_code == 200  # S-15
    assert len(_uids(again, STORED)) == 1


@pytest.mark.parametrize("accept", [JSON, "application/json", "*/*", None])
def test_the_report_is_one_json_object_in_a_bare_type(
    http: httpx.Client, accept: str | None
) -> None:
    headers = {"Content-Type": f"{DICOM_PARTS}; boundary=b", "Accept": accept or ""}
    if accept is None:
        del http.headers["Accept"], headers["Accept"]
    answer = http.post("/dicom-web/studies", content=body_of([make_part10()]), headers=headers)
    assert answer.status_code == 200  # S-14
    assert answer.headers["Content-Type"] in {JSON, "application/json"}
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize("syntax", [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
])  # fmt: skip
def test_every_uncompressed_syntax_is_taken_as_it_is(
    http: httpx.Client, live_server: LiveServer, syntax: str
) -> None:
    dataset = make_dataset()
    part10 = make_part10(dataset, transfer_syntax=syntax)
    assert store(http, part10).status_code == 200  # S-20
    assert live_server.stored_object(dataset.SOPInstanceUID) == part10
    frame = get(http, f"{path_of(dataset)}/frames/1", "application/octet-stream")
    assert frame.content == bytes(dataset.PixelData)  # M-15


def _code(dataset: Dataset, syntax: str) -> bytes:
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    if syntax == RLELossless:
        options = {
            "rows": dataset.Rows,
            "columns": dataset.Columns,
            "number_of_frames": 1,
            "samples_per_pixel": 1,
            "bits_allocated": 16,
            "bits_stored": dataset.BitsStored,
            "pixel_representation": dataset.PixelRepresentation,
            "photometric_interpretation": "MONOCHROME2",
        }
        return RLELosslessEncoder.encode(pixels, **options)
    encode: dict[str, Callable[[NDArray[np.uint16]], bytes | bytearray]] = {
        JPEGLosslessSV1: imagecodecs.ljpeg_encode,
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEG2000Lossless: partial(imagecodecs.jpeg2k_encode, codecformat="j2k", reversible=True),
        HTJ2KLossless: partial(imagecodecs.htj2k_encode, reversible=True),
    }
    return bytes(encode[syntax](pixels))


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless]
)
def test_lossless_compressed_instances_are_kept_and_leave_decoded(
    http: httpx.Client, live_server: LiveServer, syntax: str
) -> None:
    dataset = make_dataset(Rows=64, Columns=48)
    code = _code(dataset, syntax)
    part10 = make_part10(dataset, transfer_syntax=syntax, frames=[code])
    assert store(http, part10).status_code == 200  # S-20
    assert live_server.stored_object(dataset.SOPInstanceUID) == part10
    frame = get(http, f"{path_of(dataset)}/frames/1", "application/octet-stream")
    assert frame.content == bytes(dataset.PixelData)  # M-03 W-19


def test_bad_parts_fail_alone(http: httpx.Client) -> None:
    good, also = make_dataset(), make_dataset()
    nameless = make_dataset(SeriesInstanceUID=None)
    parts = [make_part10(good), b"not DICOM at all" * 20, make_part10(nameless), make_part10(also)]
    answer = store(http, *parts)  # S-05 S-22 S-26
    assert answer.status_code == 202
    assert _uids(answer, STORED) == [good.SOPInstanceUID, also.SOPInstanceUID]
    assert _uids(answer, FAILED) == [nameless.SOPInstanceUID]
    (other,) = answer.json()[OTHER_FAILURES]["Value"]  # nothing is known that could name it
    assert other[REASON]["Value"][0] >= 0xC000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (DICOM_PARTS, body_of([make_part10()])),
        (f"{DICOM_PARTS}; boundary=other", body_of([make_part10()])),
        (f"{DICOM_PARTS}; boundary=b", body_of([make_part10()]).removesuffix(b"--b--\r\n")),
        (f"{DICOM_PARTS}; boundary=b", b""),
        (f"{DICOM_PARTS}; boundary=b", b"--b--\r\n"),
    ],
    ids=["no boundary", "another boundary", "no end", "no body", "no parts"],
)
def test_a_malformed_request_is_400_and_stores_nothing(
    http: httpx.Client, content_type: str, body: bytes
) -> None:
    before = get_json(http, "/dicom-web/instances?limit=1000&includefield=00080018")
    answer = http.post("/dicom-web/studies", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 400  # S-23 S-24
    after = get_json(http, "/dicom-web/instances?limit=1000&includefield=00080018")
    assert len(after) == len(before)


def test_one_instance_may_come_as_it_is(http: httpx.Client) -> None:
    dataset = make_dataset()
    answer = http.post(
        "/dicom-web/studies",
        content=make_part10(dataset),
        headers={"Content-Type": "application/dicom"},  # S-28
    )
    assert answer.status_code == 200
    assert get(http, path_of(dataset)).status_code == 200


def test_multipart_without_a_type_is_taken(http: httpx.Client) -> None:
    answer = http.post(
        "/dicom-web/studies",
        content=body_of([make_part10()]),
        headers={"Content-Type": "multipart/related; boundary=b"},  # S-29
    )
    assert answer.status_code == 200


def test_private_and_unknown_sop_classes_are_stored(http: httpx.Client) -> None:
    dataset = make_dataset(SOPClassUID=new_uid())
    assert store(http, make_part10(dataset)).status_code == 200  # S-31


def test_a_hundred_instances_in_one_request_are_all_there(http: httpx.Client) -> None:
    datasets = make_series(120, Rows=8, Columns=8)
    assert store(http, *map(make_part10, datasets)).status_code == 200  # S-30
    found = get_json(http, f"{study_path(datasets[0])}/instances?includefield=00080018")
    assert {instance["00080018"]["Value"][0] for instance in found} == {
        dataset.SOPInstanceUID for dataset in datasets
    }
    answer = get(http, study_path(datasets[0]))
    assert answer.content.count(b"Content-Type: application/dicom") == 120  # W-24


def test_uids_that_nothing_can_be_named_by_are_refused(http: httpx.Client) -> None:
    for uid in ("1." + "2" * 63, "1.2.x", "../../etc"):
        dataset = make_dataset()
        part10 = make_part10(dataset)
        old = dataset.StudyInstanceUID.encode()
        part10 = part10.replace(old, uid.encode().ljust(len(old), b"\0")[: len(old)])
        answer = store(http, part10)  # S-33
        assert answer.status_code in {200, 409}
        if answer.status_code == 409:
            assert answer.json()[FAILED]["Value"][0][REASON]["Value"][0] >= 0xA900
