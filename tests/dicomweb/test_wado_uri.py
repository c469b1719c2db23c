"""WADO-URI as DWV, Weasis and cornerstone ask (CLIENTS 2, 4, 5), as DICOM and rendered."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RawDataStorage,
)

from tests.dicomweb.conftest import HOST
from tests.dicomweb.test_rendered import GREY, picture, stored_grey
from tests.dicomweb.test_wado_rs import sample, store
from tests.factories import make_dataset, make_part10

DICOM = "application/dicom"
URL = f"{HOST}/wado"


@pytest.fixture
async def moving(client: httpx.AsyncClient) -> Dataset:
    """A stored image of five frames."""
    dataset = make_dataset(**GREY, NumberOfFrames=5)
    await store(client, make_part10(dataset))
    return dataset


async def ask(
    client: httpx.AsyncClient, dataset: Dataset, accept: str = "*/*", **more: str
) -> httpx.Response:
    """Ask for an Instance by its own UID alone."""
    names = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, **more}
    return await client.get(URL, params=names, headers={"accept": accept})


async def test_an_instance_comes_as_dicom(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian))
    names = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, "contentType": DICOM}
    whole = {  # U-01
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


async def test_what_was_deleted_is_gone_for_those_who_could_see_it(
    client: httpx.AsyncClient,
) -> None:  # U-04, G-11
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    deleted = await client.delete(f"/studies/{dataset.StudyInstanceUID}")
    assert deleted.status_code == 204
    answer = await ask(client, dataset)
    assert answer.status_code == 410
    assert dataset.SOPInstanceUID in answer.json()["detail"]


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
        ({"contentType": "image/tiff"}, 406),  # U-16
        ({"contentType": "text/html"}, 406),
        ({"contentType": "video/mp4"}, 406),
        ({"contentType": "nothing"}, 406),
        ({"contentType": "multipart/related; type=image/jpeg"}, 406),
        ({"transferSyntax": "x"}, 400),  # U-07
        ({"transferSyntax": MPEG2MPML}, 406),
        ({"transferSyntax": ImplicitVRLittleEndian}, 406),
        ({"contentType": "image/jpeg", "transferSyntax": ExplicitVRLittleEndian}, 400),  # U-08
        ({"contentType": "", "transferSyntax": "*"}, 400),
        ({"contentType": f"{DICOM}; transfer-syntax=*"}, 400),  # U-21
        ({"contentType": "image/jpeg", "frameNumber": "0"}, 400),  # U-10
        ({"contentType": "image/jpeg", "frameNumber": "x"}, 400),
        ({"contentType": "image/jpeg", "frameNumber": "2"}, 404),
        ({"contentType": "image/jpeg", "rows": "0"}, 400),  # U-11
        ({"contentType": "image/jpeg", "columns": "1.5"}, 400),
        ({"contentType": "image/jpeg", "region": "0,0,1"}, 400),
        ({"contentType": "image/jpeg", "region": "0,0,1,1.1"}, 400),
        ({"contentType": "image/jpeg", "region": "0.5,0,0.5,1"}, 400),
        ({"contentType": "image/jpeg", "region": "0,0,0.001,1"}, 400),
        ({"contentType": "image/jpeg", "windowCenter": "40"}, 400),  # U-12
        ({"contentType": "image/jpeg", "windowWidth": "40"}, 400),
        ({"contentType": "image/jpeg", "windowCenter": "40", "windowWidth": "0"}, 400),
        ({"contentType": "image/jpeg", "imageQuality": "0"}, 400),  # U-13
        ({"contentType": "image/jpeg", "imageQuality": "101"}, 400),
        ({"contentType": "image/jpeg", "annotation": "x"}, 400),  # U-14
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
    answer = await client.get(URL, params=parameters | change)
    assert answer.status_code == status, answer.text
    assert "multipart" not in answer.text


@pytest.mark.parametrize(
    "accept",
    ["*/*", "", 'multipart/related; type="application/dicom"', "multipart/related, image/*"],
)
async def test_an_image_is_a_jpeg_unless_something_else_is_asked(
    client: httpx.AsyncClient, moving: Dataset, accept: str
) -> None:  # U-05
    answer = await ask(client, moving, accept)
    assert answer.headers["content-type"] == "image/jpeg"
    assert picture(answer).shape == (40, 60)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("image/png", "image/png"),
        ("image/tiff,image/png,image/jpeg", "image/png"),  # U-17
        ("image/png;q=0.1,image/jpeg", "image/jpeg"),
        ("image/jp2", "image/jp2"),
        ("image/gif", "image/gif"),
        ("image/*", "image/jpeg"),
        ("image/jpeg; charset=utf-8", "image/jpeg"),
    ],
)
async def test_the_first_content_type_that_can_be_made_wins(
    client: httpx.AsyncClient, moving: Dataset, content_type: str, expected: str
) -> None:
    answer = await ask(client, moving, "image/webp", contentType=content_type, charset="UTF-8")
    assert answer.headers["content-type"] == expected  # U-18


@pytest.mark.parametrize("name", ["frameNumber", "frame"])
async def test_a_frame_is_picked(client: httpx.AsyncClient, moving: Dataset, name: str) -> None:
    shown = await ask(client, moving, contentType="image/png", **{name: "4"})  # U-10
    assert (picture(shown) == stored_grey(moving, 3)).all()
    still = await ask(client, moving, contentType="image/gif", **{name: "4"})
    assert (picture(still) == stored_grey(moving, 3)).all()
    whole = await ask(client, moving, contentType=DICOM, **{name: "4"})
    assert dcmread(BytesIO(whole.content)).NumberOfFrames == 5


async def test_rows_columns_and_region_shape_the_picture(
    client: httpx.AsyncClient, moving: Dataset
) -> None:  # U-11
    png = {"contentType": "image/png"}
    for rows, columns, shape in (
        ("20", "", (20, 30)),
        ("", "30", (20, 30)),
        ("20", "20", (13, 20)),
    ):
        answer = await ask(client, moving, **png, rows=rows, columns=columns)
        assert picture(answer).shape == shape
    part = await ask(client, moving, **png, region="0.5,0.25,1.0,0.75")
    assert (picture(part) == stored_grey(moving)[10:30, 30:60]).all()


async def test_a_window_needs_center_and_width(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    given = {"contentType": "image/png", "windowCenter": "-500", "windowWidth": "600"}
    shown = picture(await ask(client, dataset, **given)).astype(float)  # U-12
    hounsfield = np.frombuffer(dataset.PixelData, "<u2").reshape(16, 16) - 1024.0
    expected = ((hounsfield + 500.5) / 599 + 0.5).clip(0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.5 + 1e-9


async def test_quality_decides_on_the_size(client: httpx.AsyncClient, moving: Dataset) -> None:
    small, large = [await ask(client, moving, imageQuality=q) for q in ("10", "95")]
    assert len(small.content) < len(large.content)  # U-13


async def test_a_picture_is_not_sent_again(client: httpx.AsyncClient, moving: Dataset) -> None:
    etag = (await ask(client, moving)).headers["etag"]
    names = {"requestType": "WADO", "objectUID": moving.SOPInstanceUID}
    again = await client.get(URL, params=names, headers={"if-none-match": etag})
    assert again.status_code == 304


async def test_a_report_is_a_page_or_a_text(client: httpx.AsyncClient) -> None:
    data, dataset = sample("reportsi.dcm")
    await store(client, data)
    for content_type, expected in (("", "text/html"), ("text/plain", "text/plain")):  # U-19
        answer = await ask(client, dataset, contentType=content_type)
        assert answer.headers["content-type"] == f"{expected}; charset=utf-8"
        assert "Section Heading" in answer.text
    refused = await ask(client, dataset, contentType="image/jpeg")
    texts = ["text/html", "text/plain", "text/xml"]
    assert refused.json()["offered"] == [*texts, "application/pdf", DICOM]


async def test_what_cannot_be_rendered_is_dicom(client: httpx.AsyncClient) -> None:
    dataset = make_dataset(Rows=None, SOPClassUID=RawDataStorage)
    await store(client, make_part10(dataset))
    answer = await ask(client, dataset)
    assert answer.headers["content-type"].startswith(DICOM)
    refused = await ask(client, dataset, contentType="image/jpeg")
    assert refused.json()["offered"] == [DICOM]


async def test_what_is_refused_says_in_which_syntaxes_it_could_be_had(  # U-07, M-07
    client: httpx.AsyncClient,
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    parameters = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, "contentType": DICOM}
    answer = await client.get(URL, params=parameters | {"transferSyntax": "9.9"})
    assert answer.status_code == 406
    offered = answer.json()["offered"]
    assert offered[:2] == [DICOM, f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}"]
    assert len(offered) > 3
    for one in offered[1:]:
        syntax = one.rpartition("=")[2]
        had = await client.get(URL, params=parameters | {"transferSyntax": syntax})
        assert had.headers["content-type"] == f"{DICOM}; transfer-syntax={syntax}"
