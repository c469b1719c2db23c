"""Every sample file of pydicom, sent over HTTP and held against what pydicom says. # I-01"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless

from app.dicom.codecs import decode_frame
from app.dicom.encodings import targets
from app.dicom.pixel_description import PixelDescription
from app.dicom.transfer_syntaxes import find
from tests import pydicom_oracle
from tests.conformance.oracle import (
    Uids,
    frame,
    frame_of_answer,
    has_pixels,
    little_endian,
    uids_of,
    with_new_uids,
)
from tests.conformance.wire import FAILED, OTHER_FAILURES, REASON
from tests.live_server import LiveServer
from tests.pydicom_oracle import read
from tests.samples import SAMPLES, sample_id

pytestmark = [pytest.mark.xdist_group("samples"), pytest.mark.slow]

LOSSLESS = tuple(target.uid for target in targets() if not target.lossy)
OCTETS = 'multipart/related; type="application/octet-stream"'
CUT_SHORT = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
BEYOND_PYDICOM = {"emri_small_jpeg_2k_lossless_too_short.dcm"}
"""Stored; pydicom drops the whole Data Set because its last delimiter is missing."""
NO_HIERARCHY = {
    "DICOMDIR",
    "DICOMDIR-bigEnd",
    "DICOMDIR-empty.dcm",
    "DICOMDIR-implicit",
    "DICOMDIR-nooffset",
    "DICOMDIR-nopatient",
    "DICOMDIR-reordered",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "UN_sequence.dcm",
    "chrSQEncoding.dcm",
    "chrSQEncoding1.dcm",
    "empty_charset_LEI.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta.dcm",
    "no_meta_group_length.dcm",
    "priv_SQ.dcm",
}
"""They lack a UID that says what and where an Instance is: DICOMDIRs, fragments."""
PALETTES = {path.name for path in SAMPLES if path.parent.name == "palettes"}
"""They are of no Patient, and taken at another resource."""
TWELVE_BIT_JPEG = {"JPEG-lossy.dcm", "JPGExtended.dcm"}
"""No decoder that pydicom may use takes them; DCMTK's does."""
UNDECODABLE = "JPEG2000-embedded-sequence-delimiter.dcm"
"""A code that no decoder takes."""
FRAMES_BEYOND_PYDICOM = {
    UNDECODABLE,
    "OT-PAL-8-face.dcm",  # names no Transfer Syntax
    "badVR.dcm",  # Number of Frames is no number
}
NOT_RENDERED = {"JPEG2000-embedded-sequence-delimiter.dcm"}
"""Its codestream is none that a decoder takes."""
REFUSED = CUT_SHORT | NO_HIERARCHY | PALETTES
KEPT = [path for path in SAMPLES if path.name not in REFUSED | BEYOND_PYDICOM]
each_kept = pytest.mark.parametrize("path", KEPT, ids=sample_id)


class Stored:
    """The samples with UIDs of their own, and how the archive answered each."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.sources = {
            path: with_new_uids(path.read_bytes(), number) for number, path in enumerate(SAMPLES)
        }
        self.answers = {path: self._store(data) for path, data in self.sources.items()}

    def _store(self, data: bytes) -> httpx.Response:
        boundary = "a-boundary-of-this-test"
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        return self.client.post(
            "/dicom-web/studies",
            content=head + data + f"\r\n--{boundary}--\r\n".encode(),
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Accept": "application/dicom+json",
            },
        )

    def dataset(self, path: Path) -> Dataset:
        """What pydicom reads in the stream that was sent."""
        return read(self.sources[path])

    def uids(self, path: Path) -> Uids:
        """Where the Instance stands."""
        uids = uids_of(self.dataset(path))
        assert uids is not None
        return uids

    def get(self, url: str, accept: str) -> httpx.Response:
        """Return an answer that must be a success."""
        url = url if url.startswith("http") else f"/dicom-web{url}"
        answer = self.client.get(url, headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        return answer

    def only_part(self, url: str) -> bytes:
        """Return the one part of an answer of octets."""
        answer = self.get(url, OCTETS)
        boundary = answer.headers["Content-Type"].split("boundary=")[1].strip('"').encode()
        before, body, after = answer.content.split(b"--" + boundary)
        assert before.strip() == b""
        assert after.strip() == b"--"
        return body.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


@pytest.fixture(scope="module")
def stored(live_server: LiveServer) -> Iterator[Stored]:
    """All samples, stored one request each."""
    with httpx.Client(base_url=live_server.url, timeout=120) as client:
        yield Stored(client)


def test_what_cannot_be_kept_is_refused_with_a_reason(stored: Stored) -> None:
    refused = {path.name: answer for path, answer in stored.answers.items() if answer.is_error}
    assert set(refused) == REFUSED
    for name, answer in refused.items():  # S-22 S-26
        assert answer.status_code == 409, name
        report = answer.json()
        (failed,) = (report.get(FAILED) or report[OTHER_FAILURES])["Value"]
        (reason,) = failed[REASON]["Value"]
        assert reason == 0x0122 if name in PALETTES else reason >= 0xA700


def test_every_other_sample_is_stored(stored: Stored) -> None:
    assert {path.name for path, answer in stored.answers.items() if answer.status_code == 200} == {
        path.name for path in KEPT
    } | BEYOND_PYDICOM
    statuses = [answer.status_code for answer in stored.answers.values()]
    assert (statuses.count(200), statuses.count(409)) == (229, 31)


@each_kept
def test_the_object_is_byte_for_byte_what_was_sent(
    stored: Stored, live_server: LiveServer, path: Path
) -> None:
    kept = live_server.stored_object(stored.uids(path).instance)
    sent = stored.sources[path]
    if sent[128:132] == b"DICM":
        assert hashlib.sha256(kept).digest() == hashlib.sha256(sent).digest()  # I-02 S-13
    else:
        assert kept[128:132] == b"DICM"  # S-21: only a head was put before it
        assert kept.endswith(sent)


@each_kept
def test_the_metadata_is_what_pydicom_reads(stored: Stored, path: Path) -> None:
    dataset = stored.dataset(path)
    (document,) = stored.get(f"{stored.uids(path).path}/metadata", "application/dicom+json").json()
    assert pydicom_oracle.differences(pydicom_oracle.metadata(dataset), document) == []  # J-26
    for place, uri in _bulk_values(document):
        element = pydicom_oracle.element_at(dataset, place)
        if place != "7FE00010":  # held against pydicom frame by frame
            assert stored.only_part(uri) == little_endian(element.value, element.VR, dataset)


def _bulk_values(document: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for tag, element in document.items():
        if "BulkDataURI" in element:
            yield f"{above}{tag}", element["BulkDataURI"]
        if element["vr"] == "SQ":
            for number, item in enumerate(element.get("Value", []), start=1):
                yield from _bulk_values(item, f"{above}{tag}/{number}/")


@each_kept
@pytest.mark.parametrize("key", ["PatientID", "StudyDate", "Modality"])
def test_the_study_is_found_by_patient_date_and_modality(
    stored: Stored, path: Path, key: str
) -> None:
    dataset, uids = stored.dataset(path), stored.uids(path)
    value = str(dataset.get(key) or "")
    name = "ModalitiesInStudy" if key == "Modality" else key
    query = httpx.QueryParams({name: value} if value else {"StudyInstanceUID": uids.study})
    found = stored.get(f"/studies?{query}", "application/dicom+json").json()
    assert uids.study in {study["0020000D"]["Value"][0] for study in found}


def _frame_count(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


@each_kept
def test_every_frame_equals_the_one_that_others_decode(
    stored: Stored, path: Path, tmp_path: Path
) -> None:
    dataset = stored.dataset(path)
    if not has_pixels(dataset):
        _assert_no_frames(stored, path)
    elif path.name in FRAMES_BEYOND_PYDICOM:
        _assert_frame_as_it_is(stored, path)
    elif path.name in TWELVE_BIT_JPEG:
        _assert_dcmtk_agrees(stored, path, tmp_path)
    else:
        _assert_pydicom_agrees(stored, path)


@each_kept
def test_every_image_is_rendered(stored: Stored, path: Path) -> None:
    dataset, url = stored.dataset(path), f"/dicom-web{stored.uids(path).path}"
    answer = stored.client.get(f"{url}/rendered")
    if path.name in NOT_RENDERED:
        assert answer.status_code == 409
    elif has_pixels(dataset):
        assert answer.status_code == 200, answer.text
        picture = imagecodecs.jpeg8_decode(answer.content)
        assert picture.shape[:2] == (dataset.Rows, dataset.Columns)
        thumbnail = stored.client.get(f"{url}/thumbnail", params={"viewport": "64,64"})
        assert max(imagecodecs.jpeg8_decode(thumbnail.content).shape[:2]) == 64
    else:
        readable = dataset.SOPClassUID.name.endswith(("SR Storage", "SR", "PDF Storage"))
        assert answer.status_code == (200 if readable else 406)  # R-19 R-20 R-21


def _assert_pydicom_agrees(stored: Stored, path: Path) -> None:
    dataset = stored.dataset(path)
    for number in range(1, _frame_count(dataset) + 1):
        theirs = frame(dataset, number - 1)
        body = stored.only_part(f"{stored.uids(path).path}/frames/{number}")
        decoded = dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian).is_compressed
        assert (frame_of_answer(dataset, body, decoded=decoded) == theirs).all()  # I-04 W-12


@each_kept
def test_every_frame_is_the_same_after_a_round_trip_through_each_lossless_syntax(
    stored: Stored, path: Path
) -> None:
    dataset = stored.dataset(path)
    beyond = path.name in FRAMES_BEYOND_PYDICOM | TWELVE_BIT_JPEG
    count = _frame_count(dataset) if has_pixels(dataset) and not beyond else 0
    theirs = [frame(dataset, index) for index in range(count)]
    for uid in LOSSLESS:  # M-24 W-19 I-04
        headers = {"Accept": f"application/dicom; transfer-syntax={uid}"}
        answer = stored.client.get(f"/dicom-web{stored.uids(path).path}", headers=headers)
        if answer.status_code == 406:
            assert not _is_plain_image(dataset, uid), answer.text
            continue
        if path.name == UNDECODABLE:
            assert answer.status_code == 409
            continue
        assert answer.status_code == 200, answer.text
        copy = read(answer.content)
        assert copy.file_meta.TransferSyntaxUID == uid
        assert {*copy.keys()} - {0x00280006} <= {*dataset.keys()}
        for index, expected in enumerate(theirs):
            assert (_frame_of_copy(copy, index) == expected).all(), uid


def _is_plain_image(dataset: Dataset, uid: str) -> bool:
    """Say whether there is no reason at all why this should not be encoded."""
    return (
        "PixelData" in dataset
        and dataset.get("BitsAllocated") in {8, 16}
        and dataset.get("PhotometricInterpretation") in {"MONOCHROME1", "MONOCHROME2", "RGB"}
        and dataset.get("PixelRepresentation") == 0
        and _is_decodable(str(dataset.file_meta.get("TransferSyntaxUID", "")))
        and uid in LOSSLESS
    )


def _is_decodable(uid: str) -> bool:
    row = find(uid)
    return row is not None and row.decodable


def _frame_of_copy(copy: Dataset, index: int) -> NDArray[Any]:
    """Decode with pydicom, but for what it leaves to GDCM or to nobody."""
    uid = copy.file_meta.TransferSyntaxUID
    if uid not in {JPEGLosslessSV1, JPEGLSLossless, "1.2.840.10008.1.2.4.110"}:
        return frame(copy, index)
    description = PixelDescription(
        rows=copy.Rows,
        columns=copy.Columns,
        samples_per_pixel=copy.SamplesPerPixel,
        bits_allocated=copy.BitsAllocated,
        bits_stored=copy.BitsStored,
        pixel_representation=copy.PixelRepresentation,
        photometric_interpretation=copy.PhotometricInterpretation,
        transfer_syntax_uid=uid,
    )
    streams = generate_frames(copy.PixelData, number_of_frames=_frame_count(copy))
    decoded = decode_frame(list(streams)[index], description)
    return frame_of_answer(copy, decoded.data, decoded=True)


def _assert_dcmtk_agrees(stored: Stored, path: Path, tmp_path: Path) -> None:
    if shutil.which("dcmdjpeg") is None:
        pytest.skip("DCMTK is not installed")
    (tmp_path / "in.dcm").write_bytes(stored.sources[path])
    decode = ["dcmdjpeg", str(tmp_path / "in.dcm"), str(tmp_path / "out.dcm")]
    subprocess.run(decode, check=True, capture_output=True)
    body = stored.only_part(f"{stored.uids(path).path}/frames/1")
    ours = frame_of_answer(stored.dataset(path), body, decoded=True).astype(int)
    theirs = frame(read(tmp_path / "out.dcm"), 0).astype(int)
    assert abs(ours - theirs).max() <= 2  # two inverse transforms of a lossy code


def _assert_no_frames(stored: Stored, path: Path) -> None:
    url = f"/dicom-web{stored.uids(path).path}/frames/1"
    assert stored.client.get(url).status_code == 404  # W-15


def _assert_frame_as_it_is(stored: Stored, path: Path) -> None:
    dataset, url = stored.dataset(path), f"{stored.uids(path).path}/frames/1"
    answer = stored.get(url, f"{OCTETS}; transfer-syntax=*")
    expected = (pydicom_oracle.frames(dataset) or [dataset.PixelData])[0]
    assert expected[:200] in answer.content
