"""Retrieve (PS3.18 §10.4, §8.7, Annex F; groups W, M, J), over real connections."""

import json
import time
from io import BytesIO

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from tests.conformance.wire import (
    DICOM_PARTS,
    JSON,
    OCTET_PARTS,
    get,
    get_json,
    parts_of,
    path_of,
    series_path,
    store,
    study_path,
)
from tests.factories import make_dataset, make_part10, make_series

EXPLICIT = "1.2.840.10008.1.2.1"


def _stored(http: httpx.Client, dataset: Dataset, **options: object) -> Dataset:
    answer = store(http, make_part10(dataset, **options))  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return dataset


@pytest.fixture
def study(http: httpx.Client) -> list[Dataset]:
    """Two Series of two Instances each, one Study."""
    first = make_series(2)
    second = make_series(2, StudyInstanceUID=first[0].StudyInstanceUID, Modality="MR")
    assert store(http, *map(make_part10, [*first, *second])).status_code == 200
    return [*first, *second]


def _as_read(dataset: Dataset) -> Dataset:
    return dcmread(BytesIO(make_part10(dataset)))


def _datasets(answer: httpx.Response) -> list[Dataset]:
    return [dcmread(BytesIO(body)) for _, body in parts_of(answer)]


def test_a_study_a_series_an_instance_come_whole_and_once(
    http: httpx.Client, study: list[Dataset]
) -> None:
    for path, expected in (
        (study_path(study[0]), study),  # W-01
        (series_path(study[2]), study[2:]),  # W-02
        (path_of(study[3]), study[3:]),  # W-03
    ):
        answer = get(http, path)
        assert answer.headers["Content-Type"].startswith("multipart/related")  # M-01
        assert "application/dicom" in answer.headers["Content-Type"]  # M-02
        received = {dataset.SOPInstanceUID: dataset for dataset in _datasets(answer)}
        assert len(received) == len(parts_of(answer)) == len(expected)
        for dataset in expected:
            assert received[dataset.SOPInstanceUID] == _as_read(dataset)  # W-18


def test_each_part_says_what_it_is_and_tells_the_truth(
    http: httpx.Client, study: list[Dataset]
) -> None:
    for headers, body in parts_of(get(http, study_path(study[0]))):
        assert headers["Content-Type"].startswith("application/dicom")  # W-16
        syntax = dcmread(BytesIO(body)).file_meta.TransferSyntaxUID
        assert syntax in headers["Content-Type"] or "transfer-syntax" not in headers["Content-Type"]


def test_metadata_comes_on_three_levels_without_group_2(
    http: httpx.Client, study: list[Dataset]
) -> None:
    for path, count in (
        (study_path(study[0]), 4),
        (series_path(study[0]), 2),
        (path_of(study[0]), 1),
    ):
        answer = get(http, f"{path}/metadata")  # W-04
        assert answer.headers["Content-Type"] == JSON  # M-18
        documents = answer.json()
        assert isinstance(documents, list)  # J-01
        assert len(documents) == count
        for document in documents:
            assert not [tag for tag in document if tag.startswith("0002")]  # W-05 J-06
            assert document["7FE00010"].keys() == {"vr", "BulkDataURI"}  # J-04 J-23


@pytest.mark.parametrize("source", [
    ImplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
])  # fmt: skip
@pytest.mark.parametrize(
    "accept", [DICOM_PARTS, f"{DICOM_PARTS}; transfer-syntax=*", "application/dicom"]
)
def test_instances_leave_in_explicit_little_endian_or_deflated(
    http: httpx.Client, source: str, accept: str
) -> None:
    dataset = _stored(http, make_dataset(), transfer_syntax=source)
    answer = get(http, path_of(dataset), accept)
    body = answer.content if accept == "application/dicom" else parts_of(answer)[0][1]  # M-11
    received = dcmread(BytesIO(body))
    kept = source == DeflatedExplicitVRLittleEndian and accept.endswith("*")  # M-06 M-27
    assert received.file_meta.TransferSyntaxUID == (source if kept else EXPLICIT)  # M-03 M-05
    assert received == _as_read(dataset)  # M-24 W-18


def test_a_syntax_that_is_asked_for_comes_or_nothing(http: httpx.Client) -> None:
    dataset = _stored(http, make_dataset())
    url = path_of(dataset)
    named = f"{DICOM_PARTS}; transfer-syntax={EXPLICIT}"
    assert get(http, url, named).status_code == 200  # M-07
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.3.4", "nonsense"):
        refused = get(http, url, f"{DICOM_PARTS}; transfer-syntax={syntax}")
        assert refused.status_code in {400, 406}, syntax  # M-09 M-05
    both = f"{DICOM_PARTS}; transfer-syntax=1.2.3.4, {named};q=0.5"
    assert get(http, url, both).status_code == 200  # M-10


def test_one_file_is_no_answer_for_many_instances(http: httpx.Client, study: list[Dataset]) -> None:
    assert get(http, study_path(study[0]), "application/dicom").status_code == 406  # M-12
    either = f"application/dicom, {DICOM_PARTS};q=0.5"
    assert len(parts_of(get(http, study_path(study[0]), either))) == 4


@pytest.mark.parametrize("accept", ["application/json", "application/dicom+json", "*/*"])
def test_json_has_two_names(http: httpx.Client, study: list[Dataset], accept: str) -> None:
    answer = get(http, f"{path_of(study[0])}/metadata", accept)  # M-19
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] in {"application/json", JSON}


def test_frames_come_one_a_part_in_the_order_of_the_list(http: httpx.Client) -> None:
    dataset = _stored(http, make_dataset(NumberOfFrames=5, Rows=8, Columns=8))
    pixels = bytes(dataset.PixelData)
    for numbers in ([1], [4, 2, 5], [3, 3]):
        path = f"{path_of(dataset)}/frames/{','.join(map(str, numbers))}"
        parts = parts_of(get(http, path, OCTET_PARTS))  # W-06 M-13
        assert [body for _, body in parts] == [pixels[(n - 1) * 128 : n * 128] for n in numbers]
        assert all(
            headers["Content-Type"].startswith("application/octet-stream") for headers, _ in parts
        )


@pytest.mark.parametrize(
    ("numbers", "statuses"),
    [("6", {404}), ("0", {400}), ("-1", {400}), ("x", {400}), ("1,99", {404}), ("", {400, 404}),
     ("9" * 30, {400, 404}), ("1,,2", {400}), ("1.5", {400})],
)  # fmt: skip
def test_frames_that_are_not_there_are_refused(
    http: httpx.Client, numbers: str, statuses: set[int]
) -> None:
    dataset = _stored(http, make_dataset(NumberOfFrames=5, Rows=8, Columns=8))
    assert get(http, f"{path_of(dataset)}/frames/{numbers}").status_code in statuses  # W-07


def test_an_instance_without_pixels_has_no_frames(http: httpx.Client) -> None:
    dataset = _stored(http, make_dataset(Rows=None, Columns=None, PixelData=None))
    assert get(http, f"{path_of(dataset)}/frames/1").status_code in {400, 404, 406}  # W-15


def test_right_instances_below_wrong_parents_are_not_found(
    http: httpx.Client, study: list[Dataset]
) -> None:
    wrong = path_of(study[0]).replace(study[0].SeriesInstanceUID, study[2].SeriesInstanceUID)
    for path in (wrong, f"{wrong}/metadata", f"{wrong}/frames/1"):
        assert get(http, path).status_code == 404  # W-17


def test_frames_of_one_bit_begin_with_their_first_bit(http: httpx.Client) -> None:
    dataset = make_dataset(
        Rows=3, Columns=5, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG",
    )  # fmt: skip
    _stored(http, dataset)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    for number in (1, 2, 3):
        expected = np.packbits(bits[(number - 1) * 15 : number * 15], bitorder="little").tobytes()
        (part,) = parts_of(get(http, f"{path_of(dataset)}/frames/{number}", OCTET_PARTS))
        assert part[1].ljust(2, b"\0")[:2] == expected  # W-13


@pytest.mark.parametrize(
    ("keyword", "dtype", "bits"),
    [("FloatPixelData", "<f4", 32), ("DoubleFloatPixelData", "<f8", 64), ("PixelData", "<u4", 32)],
)
def test_float_and_wide_pixels_are_frames_too(
    http: httpx.Client, keyword: str, dtype: str, bits: int
) -> None:
    values = np.linspace(0, 1e6, 2 * 6 * 4).astype(dtype)
    dataset = make_dataset(
        Rows=6, Columns=4, NumberOfFrames=2, BitsAllocated=bits, BitsStored=bits,
        HighBit=bits - 1, PixelData=None,
    )  # fmt: skip
    setattr(dataset, keyword, values.tobytes())
    _stored(http, dataset)
    (part,) = parts_of(get(http, f"{path_of(dataset)}/frames/2", OCTET_PARTS))
    assert part[1] == values[24:].tobytes()  # W-14


def test_lossy_pixels_leave_as_they_are_when_nothing_else_can_be_made(http: httpx.Client) -> None:
    dataset = make_dataset(
        Rows=8, Columns=8, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0
    )
    code = b"\xff\xd8 the bytes of a picture \xff\xd9\x00"
    _stored(http, dataset, transfer_syntax=JPEGBaseline8Bit, frames=[code])
    received = dcmread(BytesIO(parts_of(get(http, path_of(dataset)))[0][1]))
    assert received.file_meta.TransferSyntaxUID == JPEGBaseline8Bit  # M-04 M-25
    (part,) = parts_of(
        get(http, f"{path_of(dataset)}/frames/1", f"{OCTET_PARTS}; transfer-syntax=*")
    )
    assert part[1].startswith(code.removesuffix(b"\0"))  # M-28
    assert JPEGBaseline8Bit in part[0]["Content-Type"]


def test_compressed_frames_come_in_their_media_type(http: httpx.Client) -> None:
    dataset = make_dataset()
    code = b"a code stream, never looked into"
    _stored(http, dataset, transfer_syntax=JPEGLSLossless, frames=[code])
    for accept in ("image/jls", "image/*"):
        kind = f'multipart/related; type="{accept}"; transfer-syntax={JPEGLSLossless}'
        (part,) = parts_of(get(http, f"{path_of(dataset)}/frames/1", kind))  # M-16 M-21
        assert part[0]["Content-Type"].startswith("image/jls")
        assert part[1] == code


def test_bulk_data_comes_alone_or_as_a_part_with_its_place(http: httpx.Client) -> None:
    dataset = make_dataset()
    value = bytes(range(256)) * 64
    dataset.add_new(0x60003000, "OW", value)
    _stored(http, dataset)
    (document,) = get_json(http, f"{path_of(dataset)}/metadata")
    uri = document["60003000"]["BulkDataURI"]
    ((headers, body),) = parts_of(get(http, uri, OCTET_PARTS))  # W-08 J-17
    assert body == value
    assert headers["Content-Location"] == uri  # W-10
    alone = get(http, uri, "application/octet-stream")  # M-14
    assert (alone.status_code, alone.content) == (200, value)
    assert get(http, uri.replace("60003000", "60023000"), OCTET_PARTS).status_code == 404
    (pixels,) = parts_of(get(http, document["7FE00010"]["BulkDataURI"], OCTET_PARTS))
    assert pixels[1] == bytes(dataset.PixelData)


def test_a_document_in_a_dataset_comes_back_as_bulk_data(http: httpx.Client) -> None:
    pdf = b"%PDF-1.4 " + b"x" * 9001
    dataset = make_dataset(
        SOPClassUID=EncapsulatedPDFStorage, Rows=None, PixelData=None, Modality="DOC",
        EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf",
    )  # fmt: skip
    _stored(http, dataset)
    (document,) = get_json(http, f"{path_of(dataset)}/metadata")
    answer = get(http, document["00420011"]["BulkDataURI"], "application/octet-stream, */*;q=0.5")
    assert answer.status_code == 200  # W-21
    assert answer.content == pdf


def test_private_elements_sequences_and_64_bit_values_are_in_the_metadata(
    http: httpx.Client,
) -> None:
    dataset = make_dataset()
    block = dataset.private_block(0x0029, "FILEROOM TEST", create=True)
    block.add_new(0x10, "LO", "a private value")
    dataset.add_new(0x00089459, "FL", float("nan"))
    dataset.SelectorSVValue = [-(2**60), 5]
    dataset.SelectorUVValue = 2**63
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "T-D1100", 'a "quoted" \\ meaning'
    dataset.AnatomicRegionSequence = [item, Dataset()]
    _stored(http, dataset)
    (document,) = get_json(http, f"{path_of(dataset)}/metadata")
    assert document["00290010"]["Value"] == ["FILEROOM TEST"]  # J-19
    assert document["00291010"]["Value"] == ["a private value"]
    sequence = document["00082218"]["Value"]
    assert sequence[1] == {}  # J-15
    assert list(map(int, document["00720082"]["Value"])) == [-(2**60), 5]  # J-29
    assert list(map(int, document["00720083"]["Value"])) == [2**63]
    assert "NaN" not in str(document["00089459"]["Value"][0]) or isinstance(
        document["00089459"]["Value"][0], str
    )  # J-13


def test_uids_of_64_characters_work_in_paths(http: httpx.Client) -> None:
    uid = "1.2.826.0.1.3680043.8.498." + "1" * 38
    assert len(uid) == 64
    dataset = _stored(http, make_dataset(SOPInstanceUID=uid))
    assert get(http, path_of(dataset)).status_code == 200  # W-23
    assert get(http, f"{path_of(dataset)}/frames/1").status_code == 200


def test_a_whole_study_of_implicit_and_compressed_instances_leaves_explicit(
    http: httpx.Client,
) -> None:
    first, second = make_series(2)
    store(http, make_part10(first, transfer_syntax=ImplicitVRLittleEndian), make_part10(second))
    received = _datasets(get(http, series_path(first)))
    assert {dataset.file_meta.TransferSyntaxUID for dataset in received} == {EXPLICIT}


def test_dates_stay_text_and_group_lengths_and_doubles_are_gone(http: httpx.Client) -> None:
    dataset = make_dataset(StudyDate="20240229", StudyTime="101530.5", PatientBirthDate="")
    dataset.add_new(0x00080000, "UL", 4)
    dataset.AcquisitionDateTime = "20240229101530.123456+0100"
    _stored(http, dataset)
    url = f"{path_of(dataset)}/metadata"
    pairs: list[str] = []

    def once(members: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in members]
        assert len(names) == len(set(names))  # J-24
        pairs.extend(names)
        return dict(members)

    (document,) = json.loads(get(http, url, JSON).content, object_pairs_hook=once)
    assert "00080000" not in pairs  # J-05
    assert document["00080020"]["Value"] == ["20240229"]  # J-21
    assert document["00080030"]["Value"] == ["101530.5"]
    assert document["0008002A"]["Value"] == ["20240229101530.123456+0100"]


def test_waveforms_come_as_bulk_data(http: httpx.Client) -> None:
    samples = np.arange(5000, dtype="<i2").tobytes()
    channel = Dataset()
    channel.WaveformBitsAllocated, channel.WaveformSampleInterpretation = 16, "SS"
    channel.NumberOfWaveformChannels, channel.NumberOfWaveformSamples = 1, 5000
    channel.add_new(0x54001010, "OW", samples)
    dataset = make_dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.9.1.1", Modality="ECG", Rows=None, PixelData=None,
        WaveformSequence=[Dataset(), channel],
    )  # fmt: skip
    _stored(http, dataset)
    (document,) = get_json(http, f"{path_of(dataset)}/metadata")
    uri = document["54000100"]["Value"][1]["54001010"]["BulkDataURI"]
    assert get(http, uri, "application/octet-stream").content == samples  # W-22


def test_a_study_flows_before_it_is_assembled(http: httpx.Client) -> None:
    datasets = make_series(48, Rows=512, Columns=512)
    for dataset in datasets:
        _stored(http, dataset)
    with http.stream("GET", study_path(datasets[0]), headers={"Accept": DICOM_PARTS}) as answer:
        pieces = answer.iter_raw(65536)
        begun = time.monotonic()
        size = len(next(pieces))
        first = time.monotonic() - begun
        size += sum(map(len, pieces))
        whole = time.monotonic() - begun
    assert size > 48 * 512 * 512 * 2
    assert first < whole / 2  # W-20
