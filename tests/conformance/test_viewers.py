"""The requests that viewers really send, letter for letter (CLIENTS.md)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless

from tests.factories import make_dataset, make_part10, make_series
from tests.live_server import LiveServer

DICOM = 'multipart/related; type="application/dicom"'
JSON = "application/dicom+json"
ANY_FRAME = "multipart/related; type=application/octet-stream; transfer-syntax=*"
JOINED = (  # OHIF's own and a user's Accept, joined by the browser
    "application/dicom+json, multipart/related; type=application/octet-stream; "
    "transfer-syntax=*; transfer-syntax=*"
)
OHIF_INCLUDES = "00081030,00080060,00080090,00100030"
WEASIS_INCLUDES = (
    "00080020,00080030,00080050,00080061,00080090,00081030,00100010,00100020,00100021,"
    "00100030,00100040,0020000D,00200010"
)


@dataclass(frozen=True)
class Study:
    """A stored Study: one Series of three CT Instances, one of a multi-frame, one of JPEG-LS."""

    client: httpx.Client
    ct: list[Dataset]
    multi_frame: Dataset
    jpeg_ls: Dataset
    code: bytes

    def fill(self, url: str) -> str:
        """Put UIDs into the placeholders S, E, I of an Instance of CT; M and J stand for others."""
        first = self.ct[0]
        names = {
            "S": f"{first.StudyInstanceUID}",
            "E": f"{first.SeriesInstanceUID}",
            "I": f"{first.SOPInstanceUID}",
            "M": _below_study(self.multi_frame),
            "J": _below_study(self.jpeg_ls),
        }
        return re.sub(r"\{([SEIMJ])\}", lambda match: names[match[1]], url)

    def get(self, url: str, accept: str | None) -> httpx.Response:
        """Send what a viewer sends."""
        headers = {"Accept": accept} if accept is not None else {"Accept": "*/*"}
        return self.client.get(self.fill(url), headers=headers)


def _below_study(dataset: Dataset) -> str:
    return f"{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


def _post(client: httpx.Client, parts: list[bytes]) -> httpx.Response:
    body = b"".join(
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts
    )
    return client.post(
        "/dicom-web/studies",
        content=body + b"--b--\r\n",
        headers={"Content-Type": f'{DICOM}; boundary="b"', "Accept": JSON},
    )


@pytest.fixture(scope="module")
def study(live_server: LiveServer) -> Iterator[Study]:
    """One Study with what viewers ask for."""
    ct = make_series(3, PatientName="Viewer^Vera", PatientID="VIEW-1", StudyDate="20240229")
    shared = {
        keyword: ct[0].get(keyword)
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate")
    }
    multi_frame = make_dataset(NumberOfFrames=3, Rows=8, Columns=8, **shared)
    jpeg_ls = make_dataset(Rows=32, Columns=32, **shared)
    pixels = np.frombuffer(jpeg_ls.PixelData, "<u2").reshape(32, 32)
    code = bytes(imagecodecs.jpegls_encode(pixels))
    parts = [make_part10(dataset) for dataset in [*ct, multi_frame]]
    parts.append(make_part10(jpeg_ls, transfer_syntax=JPEGLSLossless, frames=[code]))
    with httpx.Client(base_url=live_server.url, timeout=60) as client:
        answer = _post(client, parts)
        assert answer.status_code == 200, answer.text
        yield Study(client, ct, multi_frame, jpeg_ls, code)


JSON_REQUESTS = [
    # OHIF's study list, with every key that it knows # Q-55
    "/dicom-web/studies?PatientName=*vera*&limit=101&offset=0&fuzzymatching=false"
    f"&includefield={OHIF_INCLUDES}",
    f"/dicom-web/studies?00100020=*VIEW-1*&limit=101&offset=0&fuzzymatching=false"
    f"&includefield={OHIF_INCLUDES}",
    "/dicom-web/studies?StudyDate=20240101-20241231&ModalitiesInStudy=CT,MR&AccessionNumber=*A0001*"
    "&StudyDescription=*Thorax*&PatientName=*Viewer*&limit=101&offset=0&fuzzymatching=true"
    f"&includefield={OHIF_INCLUDES}",
    "/dicom-web/studies?StudyInstanceUID={S}%5C1.2.3&limit=101&offset=0&fuzzymatching=false"
    f"&includefield={OHIF_INCLUDES}",
    f"/dicom-web/studies?00100020=VIEW-1&fuzzymatching=false&includefield={OHIF_INCLUDES}",
    # its study browser and its metadata # Q-56
    "/dicom-web/studies/{S}/series?includefield=0008103E,00080021",
    "/dicom-web/studies/{S}/series",
    "/dicom-web/studies/{S}/series?SeriesInstanceUID={E}",
    "/dicom-web/studies/{S}/series/{E}/metadata",
    "/dicom-web/studies/{S}/metadata",
    "/dicom-web/studies/{S}/series/{E}/instances?limit=1&includefield=00080018",
    # Weasis
    f"/dicom-web/studies?0020000D={{S}}&includefield={WEASIS_INCLUDES}",
    f"/dicom-web/studies?00100020=VIEW-1&includefield={WEASIS_INCLUDES}",
    f"/dicom-web/studies?00100020=VIEW-1&00100021=Fileroom&includefield={WEASIS_INCLUDES}",
    f"/dicom-web/studies?00080050=A0001&includefield={WEASIS_INCLUDES}",
    "/dicom-web/studies/{S}/series?includefield=0008103E,00080060,0020000E,00200011,00081190",
    "/dicom-web/studies/{S}/series/{E}/instances?includefield=00080018,00200013,00081190",
    "/dicom-web/series?0020000E={E}&includefield=00100010,0020000D",
    "/dicom-web/instances?00080018={I}&includefield=00080018&includefield=00200013",
    # MONAI Label, 3D Slicer
    "/dicom-web/series?Modality=CT",
    "/dicom-web/series?SeriesInstanceUID={E}",
    "/dicom-web/studies",
    "/dicom-web/studies/{S}/series/{E}/instances",
]


@pytest.mark.parametrize("accept", [JSON, JOINED, "application/dicom+json, application/json", None])
@pytest.mark.parametrize("url", JSON_REQUESTS)
def test_queries_of_viewers_find_the_study(study: Study, url: str, accept: str | None) -> None:
    answer = study.get(url, accept)
    assert answer.status_code == 200  # 206 and 304 are failures to OHIF
    assert answer.headers["Content-Type"].split(";")[0] in {JSON, "application/json"}
    found = [item["0020000D"]["Value"][0] for item in answer.json()]
    assert study.ct[0].StudyInstanceUID in found


def test_the_study_list_has_all_that_ohif_reads(study: Study) -> None:
    (found,) = study.get(JSON_REQUESTS[1], JSON).json()
    read = [
        "0020000D 00080020 00080030 00080050 00100010 00100020 00100030 00201208 00081030",
        "00080061 00080060 00080090 00081190",
    ]
    assert {tag for line in read for tag in line.split()} <= set(found)
    assert found["00201208"]["Value"] == [5]
    assert found["00100010"]["Value"][0]["Alphabetic"] == "Viewer^Vera"


def test_weasis_follows_retrieve_urls_of_series_and_instances_as_they_stand(study: Study) -> None:
    for series in study.get("/dicom-web/studies/{S}/series?includefield=00081190", JSON).json():
        below = (
            f"{series['00081190']['Value'][0]}/instances?includefield=00080018,00200013,00081190"
        )
        for instance in study.get(below, JSON).json():
            url = instance["00081190"]["Value"][0]
            answer = study.get(url, 'multipart/related;type="application/dicom";transfer-syntax=*')
            assert answer.status_code == 200
            assert b"DICM" in answer.content[:512]


@pytest.mark.parametrize(
    ("url", "accept"),
    [
        ("/dicom-web/studies/{S}/series/{E}/instances/{I}", "application/dicom"),  # DWV
        ("/dicom-web/studies/{S}/series/{E}/instances/{I}?accept=application/dicom", None),
        ("/wado?requestType=WADO&studyUID={S}&seriesUID={E}&objectUID={I}"
         "&contentType=application/dicom", None),
        ("/wado?requestType=WADO&studyUID={S}&seriesUID={E}&objectUID={I}"
         "&contentType=application%2Fdicom&transferSyntax=*&frame=1", None),  # U-20
        ("/wado?requestType=WADO&studyUID=&seriesUID=&objectUID={I}"
         "&contentType=application%2Fdicom", None),  # Weasis, requireOnlySOPInstanceUID
        ("/wado?requestType=WADO&studyUID={S}&seriesUID={E}&objectUID={I}"
         "&contentType=application%2Fdicom&transferSyntax=1.2.840.10008.1.2.1", None),
    ],
)  # fmt: skip
def test_one_instance_comes_as_a_file(study: Study, url: str, accept: str | None) -> None:
    answer = study.get(url, accept)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/dicom")
    assert answer.content[128:132] == b"DICM"


@pytest.mark.parametrize(
    "accept",
    [
        DICOM,
        "multipart/related; type=application/dicom",
        'multipart/related;type="application/dicom";transfer-syntax=*',
        'MULTIPART/Related; transfer-syntax="*"; TYPE="application/dicom"',  # M-20
        None,
    ],
)
@pytest.mark.parametrize("level", ["/studies/{S}", "/studies/{S}/series/{E}"])
def test_studies_and_series_come_as_parts(study: Study, level: str, accept: str | None) -> None:
    answer = study.get(f"/dicom-web{level}", accept)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("multipart/related")
    assert answer.content.count(b"Content-Type: application/dicom") == (3 if "{E}" in level else 5)


@pytest.mark.parametrize(
    "accept",
    [
        ANY_FRAME,  # cornerstone's default # M-28
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        'multipart/related; type="application/octet-stream"; transfer-syntax="1.2.840.10008.1.2.1"',
        'multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.81", '
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        'multipart/related; type="*/*"',  # dicomweb-client # M-21
        None,
    ],
)
def test_frames_come_to_cornerstone_as_its_parser_wants_them(
    study: Study, accept: str | None
) -> None:
    answer = study.get("/dicom-web/studies/{S}/series/{M}/frames/2", accept)
    assert answer.status_code == 200
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    assert first.startswith(b"--")
    assert any(field.startswith(b"Content-Type: application/octet-stream") for field in fields)
    assert rest.endswith(b"\r\n" + first + b"--\r\n") or rest.endswith(b"\r\n" + first + b"--")
    assert rest.startswith(bytes(study.multi_frame.PixelData)[128:256])
    assert "Content-Encoding" not in answer.headers
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_viewer_that_names_jpeg_ls_first_gets_it(study: Study) -> None:
    accept = (  # M-10 M-16
        'multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.80", '
        "multipart/related; type=application/octet-stream; transfer-syntax=*"
    )
    answer = study.get("/dicom-web/studies/{S}/series/{M}/frames/2", accept)
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    assert b"Content-Type: image/jls; transfer-syntax=1.2.840.10008.1.2.4.80" in head
    assert rest.startswith(b"\xff\xd8")
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_compressed_frame_says_its_transfer_syntax(study: Study) -> None:
    answer = study.get("/dicom-web/studies/{S}/series/{J}/frames/1", ANY_FRAME)
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    assert b"transfer-syntax=1.2.840.10008.1.2.4.80" in head.replace(b'"', b"")
    assert rest.startswith(study.code)


def test_a_frame_comes_alone_to_who_asks_for_one_part(study: Study) -> None:
    url = "/dicom-web/studies/{S}/series/{M}/frames/1?accept=application/octet-stream"
    answer = study.get(url, None)  # M-14, G-06
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/octet-stream")
    assert answer.content == bytes(study.multi_frame.PixelData)[:128]


def test_ohif_saves_a_report_and_needs_no_answer_but_200(study: Study) -> None:
    report = make_dataset(Modality="SR", Rows=None, PixelData=None)
    assert _post(study.client, [make_part10(report)]).status_code == 200


def test_a_browser_of_this_machine_may_ask_before_it_sends(study: Study) -> None:
    answer = study.client.options(
        study.fill("/dicom-web/studies/{S}/series/{E}/metadata"),
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "accept,authorization,range,if-none-match",
        },
    )
    assert answer.status_code in {200, 204}  # G-21
    assert answer.headers["Access-Control-Allow-Origin"] in {"*", "http://localhost:3000"}
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in ("accept", "authorization", "range", "if-none-match"))
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


def test_a_study_without_a_modality_does_not_break_the_list_of_ohif(
    live_server: LiveServer,
) -> None:
    """OHIF reads the length of Modalities in Study's Value wherever the attribute is there."""
    dataset = make_dataset(Modality=None)
    url = f"{live_server.dicomweb}/studies"
    headers = {"Content-Type": "application/dicom", "Accept": JSON}
    httpx.post(url, content=make_part10(dataset), headers=headers).raise_for_status()
    one = f"{url}?StudyInstanceUID={dataset.StudyInstanceUID}"
    (row,) = httpx.get(f"{one}&includefield={OHIF_INCLUDES}", headers={"Accept": JSON}).json()
    assert row["00080060"] == {"vr": "CS"}
    assert "00080061" not in row
    (row,) = httpx.get(one, headers={"Accept": JSON}).json()
    assert row["00080061"] == {"vr": "CS"}


@pytest.mark.parametrize(
    ("url", "accept", "longest"),
    [
        ("/dicom-web/studies/{S}/thumbnail?accept=image/jpeg", None, 128),  # OHIF
        ("/dicom-web/studies/{S}/series/{E}/thumbnail", "image/jpeg", 128),
        ("/dicom-web/studies/{S}/series/{E}/instances/{I}/rendered", "image/jpeg", 16),
        ("/dicom-web/studies/{S}/series/{E}/instances/{I}/frames/1/rendered", None, 16),
        ("/dicom-web/studies/{S}/series/{E}/thumbnail?viewport=64%2C64", "image/jpeg", 64),
        ("/wado?requestType=WADO&studyUID={S}&seriesUID={E}&objectUID={I}"  # Weasis
         "&contentType=image/jpeg&imageQuality=70&rows=96&columns=96", None, 96),
        ("/wado?requestType=WADO&studyUID=&seriesUID=&objectUID={I}", None, 16),
        ("/wado?requestType=WADO&studyUID={S}&seriesUID={E}&objectUID={I}", ANY_FRAME, 16),
    ],
)  # fmt: skip
def test_a_picture_comes_alone(study: Study, url: str, accept: str | None, longest: int) -> None:
    answer = study.get(url, accept)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert max(imagecodecs.jpeg8_decode(answer.content).shape) == longest  # R-17 R-18 U-05 U-11
