"""WADO-URI with anonymize=yes: nothing of whom it was, in any form; or refused in words (U-09)."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from pydicom import Dataset, Sequence, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicomweb.conftest import HOST
from tests.dicomweb.test_rendered import GREY, picture, stored_grey
from tests.dicomweb.test_wado_rs import path_of, sample, store
from tests.factories import make_dataset, make_part10

DICOM = "application/dicom"


async def ask(client: httpx.AsyncClient, dataset: Dataset, **more: str) -> httpx.Response:
    names = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, "anonymize": "yes"}
    return await client.get(f"{HOST}/wado", params=names | more)


def identity(dataset: Dataset) -> list[bytes]:
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    texts = (*uids, "Müller", "山田", "FR-0001", "19700131", "20240229", "Universit", "A0001")
    return [text.encode() for text in texts]


@pytest.mark.parametrize(
    "stored",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
@pytest.mark.parametrize("wanted", ["", "*", RLELossless, JPEGLSLossless])
async def test_an_instance_comes_without_identity(
    client: httpx.AsyncClient, stored: str, wanted: str
) -> None:
    dataset = make_dataset()
    dataset.add_new(0x00090010, "LO", "Doe works")
    dataset.add_new(0x00091001, "LO", "Doe^Jane")
    await store(client, make_part10(dataset, transfer_syntax=stored))
    answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(DICOM)
    assert not [text for text in (*identity(dataset), b"Doe") if text in answer.content]
    after = dcmread(BytesIO(answer.content))
    syntax = wanted if wanted not in {"", "*"} else ExplicitVRLittleEndian
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.PatientIdentityRemoved == "YES"
    assert np.array_equal(after.pixel_array.tobytes(), dataset.PixelData)


@pytest.mark.parametrize("wanted", ["", "*", ExplicitVRLittleEndian])
async def test_a_compressed_instance_does_too(client: httpx.AsyncClient, wanted: str) -> None:
    data, dataset = sample("MR_small_RLE.dcm")
    await store(client, data)
    answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
    after = dcmread(BytesIO(answer.content))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian  # U-09: decoded in any case
    assert np.array_equal(after.pixel_array, dataset.pixel_array)
    uids = (dataset.StudyInstanceUID, dataset.SOPInstanceUID, dataset.PatientID)
    assert not [uid for uid in uids if uid.encode() in answer.content]


@pytest.mark.parametrize("wanted", ["*", ExplicitVRLittleEndian])
async def test_a_compressed_instance_without_pixels_does_too(
    client: httpx.AsyncClient, wanted: str
) -> None:
    dataset = make_dataset(Rows=None)
    await store(client, make_part10(dataset, transfer_syntax=RLELossless))
    answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
    after = dcmread(BytesIO(answer.content))
    assert after.PatientIdentityRemoved == "YES"
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


async def test_the_same_study_gets_the_same_uids_each_time(client: httpx.AsyncClient) -> None:
    first = make_dataset()
    second = make_dataset(StudyInstanceUID=first.StudyInstanceUID)
    await store(client, make_part10(first), make_part10(second))
    answers = [await ask(client, one, contentType=DICOM) for one in (first, second, first)]
    a, b, c = (dcmread(BytesIO(answer.content)) for answer in answers)
    assert a == c
    assert a.StudyInstanceUID == b.StudyInstanceUID != first.StudyInstanceUID
    assert a.PatientID == b.PatientID
    assert a.SOPInstanceUID != b.SOPInstanceUID


async def test_it_has_an_etag_of_its_own(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await ask(client, dataset, contentType=DICOM)
    plain = await ask(client, dataset, contentType=DICOM, anonymize="no")
    assert plain.content == make_part10(dataset)
    assert answer.headers["etag"] != plain.headers["etag"]
    names = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, "contentType": DICOM}
    known = {"if-none-match": answer.headers["etag"]}
    again = await client.get(f"{HOST}/wado", params={**names, "anonymize": "yes"}, headers=known)
    assert again.status_code == 304
    other = await client.get(f"{HOST}/wado", params=names, headers=known)
    assert other.status_code == 200


def with_overlay() -> Dataset:
    """Return an image whose overlay covers its first row."""
    dataset = make_dataset(**GREY)
    values = {0x0010: ("US", 1), 0x0011: ("US", 60), 0x0040: ("CS", "G"), 0x0050: ("SS", [1, 1])}
    for element, (vr, value) in {**values, 0x0100: ("US", 1), 0x0102: ("US", 0)}.items():
        dataset.add_new(0x60000000 + element, vr, value)
    dataset.add_new(0x60003000, "OW", b"\xff" * 8)
    return dataset


async def test_a_picture_shows_no_overlay(client: httpx.AsyncClient) -> None:
    dataset = with_overlay()
    await store(client, make_part10(dataset))
    drawn = await ask(client, dataset, contentType="image/png", anonymize="no")
    answer = await ask(client, dataset, contentType="image/png")
    assert np.array_equal(picture(answer), stored_grey(dataset))
    assert not np.array_equal(picture(drawn), stored_grey(dataset))
    jpeg = await ask(client, dataset)
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert not [text for text in identity(dataset) if text in jpeg.content]


async def test_texts_over_a_picture_are_of_technique_alone(client: httpx.AsyncClient) -> None:
    dataset = make_dataset(**GREY)
    await store(client, make_part10(dataset))
    refused = await ask(client, dataset, contentType="image/png", annotation="patient,technique")
    assert refused.status_code == 400
    shown = await ask(client, dataset, contentType="image/png", annotation="technique")
    other = make_dataset(
        **GREY, StudyDescription="Jane Doe 1970", StudyDate="19700131", SeriesDescription="Doe"
    )
    await store(client, make_part10(other))
    same = await ask(client, other, contentType="image/png", annotation="technique")
    assert np.array_equal(picture(shown), picture(same))
    assert not np.array_equal(picture(shown), stored_grey(dataset))


@pytest.mark.parametrize("content_type", ["", DICOM, "image/jpeg", "image/png,application/dicom"])
@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned into its pixels"),
        ({"RecognizableVisualFeatures": "YES"}, "recognized"),
        ({"ContentSequence": Sequence([Dataset()])}, "report"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, "often have text"),
    ],
)
async def test_what_cannot_be_cleaned_is_refused_in_every_form(
    client: httpx.AsyncClient, content_type: str, keywords: dict[str, object], words: str
) -> None:
    dataset = make_dataset(**keywords)
    await store(client, make_part10(dataset))
    answer = await ask(client, dataset, contentType=content_type)
    assert answer.status_code == 406
    assert words in answer.json()["detail"]
    assert "nothing was sent" in answer.json()["detail"]


@pytest.mark.parametrize("content_type", ["", DICOM, "application/pdf"])
async def test_a_document_is_refused(client: httpx.AsyncClient, content_type: str) -> None:
    dataset = make_dataset(
        Rows=None,
        SOPClassUID=EncapsulatedPDFStorage,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=b"%PDF-1.7",
    )
    await store(client, make_part10(dataset))
    answer = await ask(client, dataset, contentType=content_type)
    assert answer.status_code == 406
    assert "document" in answer.json()["detail"]


@pytest.mark.parametrize("value", ["true", "1", "yes,no"])
async def test_another_value_is_not_ignored(client: httpx.AsyncClient, value: str) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await ask(client, dataset, anonymize=value)
    assert answer.status_code == 400
    assert "anonymize=yes or anonymize=no" in answer.json()["detail"]


@pytest.mark.parametrize("value", ["YES", "Yes"])
async def test_yes_is_understood_in_any_case(client: httpx.AsyncClient, value: str) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await ask(client, dataset, contentType=DICOM, anonymize=value)
    assert dcmread(BytesIO(answer.content)).PatientIdentityRemoved == "YES"


async def test_a_syntax_that_it_is_not_had_in_is_refused(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    wanted = ImplicitVRLittleEndian
    answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
    assert answer.status_code == 406
    assert any(ExplicitVRLittleEndian in one for one in answer.json()["offered"])


async def test_a_presentation_state_is_cleaned_as_dicom_alone(client: httpx.AsyncClient) -> None:
    image = make_dataset(**GREY)
    state = make_dataset(
        Rows=None,
        SOPClassUID=GrayscaleSoftcopyPresentationStateStorage,
        StudyInstanceUID=image.StudyInstanceUID,
        ReferencedSeriesSequence=Sequence([Dataset()]),
        GraphicAnnotationSequence=Sequence([Dataset()]),
    )
    (series,) = state.ReferencedSeriesSequence
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.ReferencedImageSequence = Sequence([Dataset()])
    series.ReferencedImageSequence[0].ReferencedSOPClassUID = image.SOPClassUID
    series.ReferencedImageSequence[0].ReferencedSOPInstanceUID = image.SOPInstanceUID
    text = Dataset()
    text.UnformattedTextValue = "Doe^Jane"
    state.GraphicAnnotationSequence[0].TextObjectSequence = Sequence([text])
    await store(client, make_part10(image), make_part10(state))
    shown = await ask(client, state)
    assert shown.status_code == 406
    by_state = await ask(client, image, presentationUID=state.SOPInstanceUID)
    assert by_state.status_code == 406
    answer = await ask(client, state, contentType=DICOM)
    assert b"Doe^Jane" not in answer.content
    after = dcmread(BytesIO(answer.content))
    pair = dcmread(BytesIO((await ask(client, image, contentType=DICOM)).content))
    reference = after.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == pair.SOPInstanceUID


async def test_a_secret_stands_beside_no_object(client: httpx.AsyncClient, app: object) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    objects = app.state.archive.objects  # type: ignore[attr-defined]
    assert not [key async for key in objects.keys("") if "secret" in key]
    assert (await client.get(f"{path_of(dataset)}/metadata")).status_code == 200
