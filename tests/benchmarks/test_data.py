"""What the benchmark stores is DICOM, and new in every repetition."""

import io
from collections.abc import Callable

import pytest
from pydicom import dcmread

from benchmarks.data import Instance, make_ct_series, make_mr_series, make_multi_frame
from benchmarks.messages import build_store
from benchmarks.population import RARE_NAME, make_population, write_population
from benchmarks.queries import make_questions


def join(instance: Instance) -> bytes:
    return b"".join(instance.pieces())


@pytest.mark.parametrize("make", [make_ct_series, make_mr_series])
def test_a_series_is_read_by_pydicom_as_it_was_meant(
    make: Callable[[int, int], list[Instance]],
) -> None:
    series = make(7, 3)
    for number, instance in enumerate(series, 1):
        dataset = dcmread(io.BytesIO(join(instance)))
        assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID) == (
            instance.study,
            instance.series,
            instance.uid,
        )
        assert dataset.InstanceNumber == number
        assert dataset.PixelData == b"".join(instance.frames[0])
        assert len(dataset) > 150


def test_repetitions_share_no_instance_and_no_pixels() -> None:
    first, second = make_ct_series(1, 4), make_ct_series(2, 4)
    assert len({instance.uid for instance in first + second}) == 8
    assert len({instance.study for instance in first + second}) == 2
    assert len({b"".join(instance.frames[0]) for instance in first + second}) == 8
    assert {instance.size for instance in first + second} == {first[0].size}


def test_a_multi_frame_instance_has_its_frames_in_order() -> None:
    instance = make_multi_frame(3, 4)
    dataset = dcmread(io.BytesIO(join(instance)))
    assert dataset.NumberOfFrames == 4
    assert dataset.PixelData == b"".join(b"".join(frame) for frame in instance.frames)


def test_the_population_is_written_as_it_is_described() -> None:
    studies = make_population(1000)[770:780]
    for study, instance in zip(studies, write_population(studies, 1), strict=True):
        dataset = dcmread(io.BytesIO(join(instance)))
        assert (dataset.PatientName, dataset.PatientID) == (study.name, study.patient)
        assert (dataset.StudyDate, dataset.Modality) == (f"{study.day:%Y%m%d}", study.modality)
        assert dataset.AccessionNumber == study.accession


def test_queries_know_what_they_must_find() -> None:
    studies = make_population(2000)
    counts = {question.name: question.count(studies) for question in make_questions(studies)}
    assert sum(RARE_NAME in study.name for study in studies) == 1
    assert (counts["qido-rare"], counts["qido-absent"], counts["qido-list"]) == (1, 0, 101)
    assert counts["qido-name"] == 101


def test_a_store_request_declares_its_length() -> None:
    data = b"".join(build_store("/dicom-web", make_mr_series(1, 2)))
    head, _, body = data.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
