"""WADO-URI as DWV, Weasis and cornerstone ask (U-01 to U-09, U-16, U-20; CLIENTS 2, 4, 5)."""

from io import BytesIO

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import MPEG2MPML, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.dicomweb.conftest import HOST
from tests.dicomweb.test_wado_rs import store
from tests.factories import make_dataset, make_part10

DICOM = "application/dicom"
URL = f"{HOST}/wado"


async def test_an_instance_comes_as_dicom(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian))
    names = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, "contentType": DICOM}
    whole = {
        **names,
        "studyUID": dataset.StudyInstanceUID,
        "seriesUID": dataset.SeriesInstanceUID,
    }
    empty = {**names, "studyUID": "", "seriesUID": ""}
    frame = {**whole, "transferSyntax": "*", "frame": "1"}  # U-20
    named = {**whole, "transferSyntax": ExplicitVRLittleEndian}  # U-07
    for parameters in (names, whole, empty, frame, named):
        answer = await client.get(URL, params=parameters)
        assert answer.headers["content-type"].startswith(DICOM)
        got = dcmread(BytesIO(answer.content))
        assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian  # U-06
        assert got.PixelData == dataset.PixelData


async def test_the_accept_header_can_ask_for_dicom(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    parameters = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID}
    answer = await client.get(URL, params=parameters, headers={"accept": DICOM})
    assert answer.content == make_part10(dataset)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"requestType": ""}, 400),  # U-02
        ({"requestType": "wado"}, 400),
        ({"objectUID": ""}, 400),  # U-03
        ({"objectUID": "x"}, 400),
        ({"objectUID": "1.2.3"}, 404),  # U-04
        ({"studyUID": "1.2.3"}, 404),
        ({"seriesUID": "1.2.3"}, 404),
        ({"contentType": "image/jpeg"}, 406),  # U-16
        ({"transferSyntax": "x"}, 400),  # U-07
        ({"transferSyntax": MPEG2MPML}, 406),
        ({"transferSyntax": ImplicitVRLittleEndian}, 406),
        ({"anonymize": "yes"}, 400),  # U-09
    ],
)
async def test_what_cannot_be_is_refused(
    client: httpx.AsyncClient, change: dict[str, str], status: int
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    parameters = {
        "requestType": "WADO",
        "studyUID": dataset.StudyInstanceUID,
        "seriesUID": dataset.SeriesInstanceUID,
        "objectUID": dataset.SOPInstanceUID,
        "contentType": DICOM,
    }
    assert (await client.get(URL, params=parameters | change)).status_code == status
