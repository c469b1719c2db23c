"""What is rendered that is no plain image: documents, videos, reports, presentation states."""

from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_palette_files
from pydicom.uid import (
    BlendingSoftcopyPresentationStateStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    PseudoColorSoftcopyPresentationStateStorage,
)

from tests.dicomweb.conftest import HOST
from tests.dicomweb.test_rendered import GREY, picture, stored_grey
from tests.dicomweb.test_wado_rs import path_of, sample, store
from tests.factories import make_dataset, make_part10, make_series


@pytest.mark.parametrize("length", [1001, 20000])
async def test_an_encapsulated_pdf_is_itself(client: httpx.AsyncClient, length: int) -> None:
    pdf = b"%PDF-1.7\n" + bytes(length - 9)
    dataset = make_dataset(
        Rows=None,
        SOPClassUID=EncapsulatedPDFStorage,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=pdf + b"\0" * (length % 2),
        EncapsulatedDocumentLength=length,
    )
    await store(client, make_part10(dataset))
    for accept in ("", "text/html, */*;q=0.8", "application/pdf"):
        answer = await client.get(f"{path_of(dataset)}/rendered", headers={"accept": accept})
        assert answer.headers["content-type"] == "application/pdf"
        assert "content-disposition" not in answer.headers
        assert answer.content == pdf


@pytest.mark.parametrize(
    ("arc", "mime_type", "expected"),
    [
        ("104.2", "text/XML", "text/xml"),
        ("104.3", "model/stl", "model/stl"),
        ("104.4", "model/obj", "model/obj"),
        ("104.5", "", "model/mtl"),
        ("9999", "Text/HTML", "text/html"),
        ("9999", "no type at all\r\n", "application/octet-stream"),
    ],
)
async def test_a_foreign_document_runs_nothing(
    client: httpx.AsyncClient, arc: str, mime_type: str, expected: str
) -> None:
    dataset = make_dataset(
        Rows=None,
        SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{arc}",
        MIMETypeOfEncapsulatedDocument=mime_type,
        EncapsulatedDocument=b"<html><script>alert(1)</script></html>",
    )
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/rendered")
    assert answer.headers["content-type"] == expected
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    disposition = answer.headers.get("content-disposition")
    assert disposition == ("attachment" if arc == "9999" else None)
    assert answer.content == dataset.EncapsulatedDocument


@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_video_is_its_stream(client: httpx.AsyncClient, fragments: int) -> None:
    stream = bytes(range(256)) * 12
    pieces = [stream[n::fragments] for n in range(fragments)]
    dataset = make_dataset(NumberOfFrames=30)
    part = make_part10(dataset, transfer_syntax="1.2.840.10008.1.2.4.102", frames=pieces)
    await store(client, part)
    answer = await client.get(f"{path_of(dataset)}/rendered")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content == b"".join(pieces)
    refused = await client.get(f"{path_of(dataset)}/rendered", headers={"accept": "image/jpeg"})
    assert refused.json()["offered"] == ["video/mp4"]
    assert (await client.get(f"{path_of(dataset)}/frames/1/rendered")).status_code == 406
    assert (await client.get(f"{path_of(dataset)}/thumbnail")).status_code == 404


async def test_a_report_is_a_page_a_text_or_xml(client: httpx.AsyncClient) -> None:
    data, dataset = sample("reportsi.dcm")
    await store(client, data)
    url = f"{path_of(dataset)}/rendered"
    for accept, expected in (
        ("*/*", "text/html"),
        ("text/*", "text/html"),
        ("text/plain", "text/plain"),
        ("text/xml, text/plain", "text/xml"),
    ):
        answer = await client.get(url, headers={"accept": accept})
        assert answer.headers["content-type"] == f"{expected}; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("sandbox;")
        assert "Section Heading" in answer.text
        assert "Report Text" in answer.text
    refused = await client.get(url, headers={"accept": "image/jpeg"})
    assert refused.status_code == 406


async def test_a_report_is_rendered_on_paper(client: httpx.AsyncClient) -> None:
    data, dataset = sample("reportsi.dcm")
    await store(client, data)
    answers = [
        await client.get(f"{path_of(dataset)}/rendered", headers={"accept": accept})
        for accept in ("application/pdf", "image/png, application/*;q=0.5")
    ]
    answers.append(
        await client.get(
            f"{HOST}/wado",
            params={
                "requestType": "WADO",
                "objectUID": dataset.SOPInstanceUID,
                "contentType": "application/pdf",
            },
        )
    )
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.content.startswith(b"%PDF-")
        assert answer.content == answers[0].content
    known = {"accept": "application/pdf", "if-none-match": answers[0].headers["etag"]}
    again = await client.get(f"{path_of(dataset)}/rendered", headers=known)
    assert again.status_code == 304


def make_state(image: Dataset, **more: Any) -> Dataset:
    """Return a presentation state for an image, in a Series of its own."""
    one, series = Dataset(), Dataset()
    one.ReferencedSOPClassUID = image.SOPClassUID
    one.ReferencedSOPInstanceUID = image.SOPInstanceUID
    series.SeriesInstanceUID = image.SeriesInstanceUID
    series.ReferencedImageSequence = [one]
    return make_dataset(
        Rows=None,
        SOPClassUID=GrayscaleSoftcopyPresentationStateStorage,
        StudyInstanceUID=image.StudyInstanceUID,
        WindowCenter=None,
        WindowWidth=None,
        RescaleSlope=None,
        RescaleIntercept=None,
        ReferencedSeriesSequence=[series],
        **more,
    )


async def test_a_presentation_state_is_the_image_it_is_for(client: httpx.AsyncClient) -> None:
    image = make_dataset(**GREY)
    state = make_state(image, PresentationLUTShape="INVERSE", ImageRotation=90)
    await store(client, make_part10(image), make_part10(state))
    png = {"accept": "image/png"}
    expected = 255 - np.rot90(stored_grey(image), -1).astype(int)
    shown = picture(await client.get(f"{path_of(state)}/rendered", headers=png))
    assert np.abs(shown - expected).max() <= 1
    small = await client.get(f"{path_of(state)}/thumbnail", params={"viewport": "40,60"})
    assert picture(small).shape == (60, 40)
    region = {"viewport": "10,10,0,0,5,5"}
    refused = await client.get(f"{path_of(state)}/rendered", params=region)
    assert refused.status_code == 400
    names = {"requestType": "WADO", "objectUID": image.SOPInstanceUID, "contentType": "image/png"}
    by = {"presentationUID": state.SOPInstanceUID, "presentationSeriesUID": state.SeriesInstanceUID}
    answer = await client.get(f"{HOST}/wado", params=names | by)  # U-15
    assert (picture(answer) == shown).all()
    for change, status in (
        ({"presentationUID": image.SOPInstanceUID, "presentationSeriesUID": ""}, 400),
        ({"presentationUID": "1.2.3"}, 404),
        ({"presentationSeriesUID": "1.2.3"}, 404),
        ({"windowCenter": "1", "windowWidth": "2"}, 400),
    ):
        answer = await client.get(f"{HOST}/wado", params=names | by | change)
        assert answer.status_code == status


async def test_a_pseudo_colour_state_shows_grey_in_its_palette(client: httpx.AsyncClient) -> None:
    image, palette = make_dataset(**GREY), dcmread(get_palette_files("spring.dcm")[0])
    tables: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        kind = f"{colour}PaletteColorLookupTable"
        names = (f"{kind}Descriptor", f"Segmented{kind}Data")
        tables |= {name: palette[name].value for name in names}
    states = [make_state(image, **tables), make_state(image)]
    for state in states:
        state.SOPClassUID = PseudoColorSoftcopyPresentationStateStorage
    await store(client, *map(make_part10, [image, *states]))
    png = {"accept": "image/png"}
    shown = picture(await client.get(f"{path_of(states[0])}/rendered", headers=png))
    grey = stored_grey(image)
    expected = np.stack([np.full_like(grey, 255), grey, 255 - grey], axis=-1)  # magenta to yellow
    assert np.abs(shown.astype(int) - expected).max() <= 1
    without = await client.get(f"{path_of(states[1])}/rendered", headers=png)
    assert without.status_code == 409


async def test_a_presentation_state_without_its_image_is_404(client: httpx.AsyncClient) -> None:
    state = make_state(make_dataset())
    await store(client, make_part10(state))
    assert (await client.get(f"{path_of(state)}/rendered")).status_code == 404


async def test_annotations_are_written_when_they_are_asked_for(client: httpx.AsyncClient) -> None:
    image = make_dataset(**GREY | {"Rows": 140, "Columns": 200})
    await store(client, make_part10(image))
    png, url = {"accept": "image/png"}, f"{path_of(image)}/rendered"
    plain = picture(await client.get(url, headers=png))
    changed = {
        name: picture(await client.get(url, headers=png, params={"annotation": name})) != plain
        for name in ("patient", "technique", "patient,technique")
    }
    assert changed["patient"][:50].any()
    assert not changed["patient"][50:].any()
    assert changed["technique"][50:].any()
    assert not changed["technique"][:8].any()
    assert (changed["patient"][:8] == changed["patient,technique"][:8]).all()
    names = {"requestType": "WADO", "objectUID": image.SOPInstanceUID, "contentType": "image/png"}
    answer = await client.get(f"{HOST}/wado", params=names | {"annotation": "patient"})  # U-14
    assert ((picture(answer) != plain) == changed["patient"]).all()


PLACED = {
    "FrameOfReferenceUID": "1.2.3.4",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "SliceThickness": 3,
}


def make_blending(under: Dataset, *over: Dataset, **more: Any) -> Dataset:
    """Return a blending state that shows images in magenta to yellow over another."""
    palette, state = dcmread(get_palette_files("spring.dcm")[0]), make_state(under, **more)
    for colour in ("Red", "Green", "Blue"):
        kind = f"{colour}PaletteColorLookupTable"
        for name in (f"{kind}Descriptor", f"Segmented{kind}Data"):
            setattr(state, name, palette[name].value)
    parts = [("UNDERLYING", [under]), ("SUPERIMPOSED", list(over))]
    state.BlendingSequence = [_part(position, images) for position, images in parts]
    state.SOPClassUID = BlendingSoftcopyPresentationStateStorage
    del state.ReferencedSeriesSequence
    return state


def _part(position: str, images: list[Dataset]) -> Dataset:
    part, series = Dataset(), Dataset()
    part.BlendingPosition, part.StudyInstanceUID = position, images[0].StudyInstanceUID
    series.SeriesInstanceUID, series.ReferencedImageSequence = images[0].SeriesInstanceUID, []
    for image in images:
        one = Dataset()
        one.ReferencedSOPClassUID = image.SOPClassUID
        one.ReferencedSOPInstanceUID = image.SOPInstanceUID
        series.ReferencedImageSequence.append(one)
    part.ReferencedSeriesSequence = [series]
    return part


async def test_a_blending_state_shows_the_nearest_image_over_another(
    client: httpx.AsyncClient,
) -> None:
    under = make_dataset(**GREY | PLACED, ImagePositionPatient=[0, 0, 10], PixelSpacing=[1, 1])
    coarse = {"Rows": 20, "Columns": 30, "PixelSpacing": [2, 2]}
    over = make_series(3, **GREY | PLACED | coarse, StudyInstanceUID="1.2.3.79")
    for image, z in zip(over, (8.6, 10.4, 11.4), strict=True):
        image.ImagePositionPatient = [0.5, 0.5, z]
    state = make_blending(under, *over, RelativeOpacity=0.25)
    png = {"accept": "image/png"}
    await store(client, make_part10(under), make_part10(state))
    url = f"{path_of(state)}/rendered"
    alone = await client.get(url, headers=png)
    assert (picture(alone) == stored_grey(under)).all()
    await store(client, *map(make_part10, over))
    answer = await client.get(url, headers=png)
    assert answer.headers["etag"] != alone.headers["etag"]
    grey = stored_grey(over[1]).repeat(2, axis=0).repeat(2, axis=1)
    colours = np.stack([np.full_like(grey, 255), grey, 255 - grey], axis=-1)
    expected = stored_grey(under)[..., None] * 0.75 + colours * 0.25
    assert np.abs(picture(answer) - expected).max() <= 1
