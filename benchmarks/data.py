"""Generated image series: CT, MR and an enhanced multi-frame CT.

A series is written once by pydicom as a template; each instance is that template with its own
UIDs, times, positions and numbers put in at equal length, and pixels of its own. So a thousand
instances cost milliseconds, every repetition stores instances that no server has seen, and no
value that differs between real slices stays the same. All is deterministic: `run` numbers the
repetition and nothing else varies.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks.elements import ACQUISITION, CT, MR, PATIENT, PRIVATE_BLOCKS, SERIES

_ROOT = "1.2.826.0.1.3680043.10.1313"
_BASE_IMAGES = 16
_STAMP = 16
"""Bytes at the start of each frame that tell it from every other frame."""

SLOTS = {
    "study": f"{_ROOT}.1.1900001.1900001.1900001",
    "series": f"{_ROOT}.2.1900002.1900002.1900002",
    "instance": f"{_ROOT}.3.1900003.1900003.1900003",
    "reference": f"{_ROOT}.4.1900004.1900004.1900004",
    "patient": "PAT9000001",
    "accession": "ACC9000002",
    "time": "091500.900003",
    "position": "-9000.04",
    "number": "90005",
}
"""What stands in a template where an instance's own values go."""


@dataclass(frozen=True, slots=True)
class Template:
    """A DICOM file up to the first byte of its pixels, and the places of each slot."""

    head: bytes
    places: Mapping[str, tuple[int, ...]]

    def fill(self, values: Mapping[str, str]) -> bytes:
        """Return the head with `values` in its slots; each has the length of its placeholder."""
        head = bytearray(self.head)
        for slot, value in values.items():
            text = value.encode("ascii")
            assert len(text) == len(SLOTS[slot]), (slot, value)
            for place in self.places[slot]:
                head[place : place + len(text)] = text
        return bytes(head)


@dataclass(frozen=True, slots=True)
class Instance:
    """A generated DICOM file in pieces, not joined; `frames` are its pixels, two pieces each."""

    study: str
    series: str
    uid: str
    head: bytes
    frames: tuple[tuple[bytes, memoryview], ...]
    padding: bytes = b""

    @property
    def path(self) -> str:
        """Where DICOMweb has it, below the root."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.uid}"

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the file's bytes in order."""
        yield self.head
        for stamp, rest in self.frames:
            yield stamp
            yield rest
        yield self.padding

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(len(piece) for piece in self.pieces())


def locate_slots(head: bytes) -> dict[str, tuple[int, ...]]:
    """Return where each placeholder stands in a template."""
    places: dict[str, tuple[int, ...]] = {}
    for slot, text in SLOTS.items():
        found, at = [], head.find(text.encode())
        while at >= 0:
            found.append(at)
            at = head.find(text.encode(), at + 1)
        places[slot] = tuple(found)
    return places


def write_dataset(dataset: Dataset) -> bytes:
    """Return the data set as a DICOM file in Explicit VR Little Endian."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def identify(dataset: Dataset) -> None:
    """Put the placeholders where they belong."""
    dataset.StudyInstanceUID = UID(SLOTS["study"])
    dataset.SeriesInstanceUID = UID(SLOTS["series"])
    dataset.SOPInstanceUID = UID(SLOTS["instance"])
    dataset.PatientID = SLOTS["patient"]
    dataset.AccessionNumber = SLOTS["accession"]


def _add_pixels(dataset: Dataset, rows: int, frames: int = 1) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = rows
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(rows * rows * 2 * frames)
    dataset["PixelData"].VR = "OW"


def _build_dataset(modality: Mapping[str, object], sop_class: str, rows: int) -> Dataset:
    dataset = Dataset()
    for keyword, value in {**PATIENT, **SERIES, **ACQUISITION, **modality}.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID = UID(sop_class)
    identify(dataset)
    dataset.FrameOfReferenceUID = UID(SLOTS["reference"])
    dataset.AcquisitionTime = dataset.ContentTime = SLOTS["time"]
    dataset.InstanceNumber = SLOTS["number"]
    dataset.SliceLocation = SLOTS["position"]
    dataset.ImagePositionPatient = ["-249.51172", "-249.51172", SLOTS["position"]]
    request, code = Dataset(), Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP4711", "SPS4711"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTTHX", "99LOCAL", "CT thorax"
    dataset.RequestAttributesSequence, dataset.ProcedureCodeSequence = [request], [code]
    for group, creator, values in PRIVATE_BLOCKS:
        block = dataset.private_block(group, creator, create=True)
        for element, (vr, value) in enumerate(values, 1):
            block.add_new(element, vr, value)
    _add_pixels(dataset, rows)
    return dataset


def _make_template(dataset: Dataset) -> Template:
    head = write_dataset(dataset)[: -len(dataset.PixelData)]
    return Template(head, locate_slots(head))


@lru_cache
def _ct_template() -> Template:
    return _make_template(_build_dataset(CT, "1.2.840.10008.5.1.4.1.1.2", 512))


@lru_cache
def _mr_template() -> Template:
    return _make_template(_build_dataset(MR, "1.2.840.10008.5.1.4.1.1.4", 256))


@lru_cache
def _multi_frame_template(frames: int) -> Template:
    """An Enhanced CT: the plane of each frame is in its functional groups."""
    dataset = _build_dataset(CT, "1.2.840.10008.5.1.4.1.1.2.1", 512)
    for keyword in ("SliceLocation", "ImagePositionPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = frames
    groups = []
    for frame in range(frames):
        content, plane, group = Dataset(), Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber = "1", frame + 1
        content.DimensionIndexValues = [1, frame + 1]
        plane.ImagePositionPatient = ["-249.51172", "-249.51172", f"{frame * 1.25:.2f}"]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [plane]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    _add_pixels(dataset, 512, frames)
    return _make_template(dataset)


@lru_cache
def _base_images(rows: int) -> tuple[memoryview, ...]:
    """Return frames that look like a body to a codec: an ellipse with organs and noise."""
    random = np.random.default_rng(rows)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : rows * 1j]
    images = []
    for number in range(_BASE_IMAGES):
        body = np.where(x**2 / 0.7 + y**2 / 0.45 < 1, 1040.0, 24.0)
        body -= 800 * ((x - 0.3) ** 2 / 0.06 + (y - 0.02 * number) ** 2 / 0.12 < 1)
        body += 400 * (x**2 + (y - 0.4) ** 2 < 0.01)
        body += random.normal(0, 12, body.shape)
        images.append(memoryview(body.clip(0, 4095).astype("<u2").tobytes()))
    return tuple(images)


def _frame(run: int, number: int, rows: int) -> tuple[bytes, memoryview]:
    digits = np.frombuffer(f"{run % 1000:03d}{number:05d}".encode(), np.uint8)
    stamp = digits.astype("<u2").tobytes()
    assert len(stamp) == _STAMP
    return stamp, _base_images(rows)[number % _BASE_IMAGES][_STAMP:]


def make_uid(level: int, run: int, series: int = 0, number: int = 0) -> str:
    """Return a UID of the length that templates have; `level` is 1 for a study, 2, 3, 4."""
    return f"{_ROOT}.{level}.{1000000 + run}.{1000000 + series}.{1000000 + number}"


def _values(run: int, number: int) -> dict[str, str]:
    seconds = 3600 * 8 + run % 7200 + number // 50
    clock = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
    return {
        "study": make_uid(1, run),
        "series": make_uid(2, run),
        "instance": make_uid(3, run, 0, number),
        "reference": make_uid(4, run),
        "patient": f"PAT{run:07d}",
        "accession": f"ACC{run:07d}",
        "time": f"{clock}.{number % 50 * 20000 + run % 20000:06d}",
        "position": f"{number * 1.25 - 900 + run % 100 / 100:08.2f}",
        "number": f"{number + 1:05d}",
    }


def _fill(template: Template, run: int, number: int, rows: int, frames: int = 1) -> Instance:
    values = _values(run, number)
    pixels = tuple(_frame(run, number + frame, rows) for frame in range(frames))
    return Instance(
        values["study"], values["series"], values["instance"], template.fill(values), pixels
    )


def make_ct_series(run: int, count: int) -> list[Instance]:
    """Return a study of one CT series: 512², 16 bit, 0.53 MB and 177 elements each."""
    return [_fill(_ct_template(), run, number, 512) for number in range(count)]


def make_mr_series(run: int, count: int) -> list[Instance]:
    """Return a study of one MR series: 256², 16 bit, 0.14 MB each."""
    return [_fill(_mr_template(), run, number, 256) for number in range(count)]


def make_multi_frame(run: int, frames: int) -> Instance:
    """Return a study of one Enhanced CT of `frames` frames of 512², 16 bit."""
    return _fill(_multi_frame_template(frames), run, 0, 512, frames)
