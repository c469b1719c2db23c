"""Synthetic Data Sets and Part 10 streams, built in code; every UID is new unless it is given."""

import itertools
import os
from copy import deepcopy
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

_UNCOMPRESSED = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
}
_ROOT = f"1.2.826.0.1.3680043.8.498.{int.from_bytes(os.urandom(12), 'big')}"
_counter = itertools.count(1)


def new_uid() -> str:
    """Return a UID that no other call, in this process or another, has returned."""
    return f"{_ROOT}.{next(_counter)}"


def make_dataset(**keywords: Any) -> Dataset:
    """Return a CT Image of 16 × 16 pixels; `keywords` (by DICOM keyword) are put over it.

    A value of None takes the element away. Where `Rows`, `Columns`, `NumberOfFrames`,
    `BitsAllocated` or `SamplesPerPixel` are given, Pixel Data of that size is made.
    """
    dataset = Dataset()
    for keyword, value in {**_identity(), **_description(), **_image()}.items():
        setattr(dataset, keyword, value)
    for keyword, value in keywords.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    if "PixelData" not in keywords and "Rows" in dataset:
        dataset.PixelData = make_pixels(dataset)
    return dataset


def make_pixels(dataset: Dataset) -> bytes:
    """Return native Pixel Data that fits the Image Pixel module, different in each frame."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    shape = (frames, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    bits = frames * dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
    if dataset.BitsAllocated == 1:
        pattern = np.arange(bits) % 3 == 0
        data = np.packbits(pattern, bitorder="little").tobytes()
    else:
        ramp = np.arange(bits).reshape(shape) * 7 + np.arange(frames).reshape(-1, 1, 1, 1) * 101
        limit = 2 ** (dataset.BitsStored - dataset.PixelRepresentation)
        data = (ramp % limit).astype(f"<u{dataset.BitsAllocated // 8}").tobytes()
    return data + b"\0" * (len(data) % 2)


def make_part10(
    dataset: Dataset | None = None,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    **keywords: Any,
) -> bytes:
    """Return a Part 10 stream of `dataset`, or of `make_dataset(**keywords)`.

    `frames` are the encoded frames of a compressed Transfer Syntax: they replace Pixel Data,
    with a Basic Offset Table. Without them a compressed syntax carries the native bytes of each
    frame as its one fragment (enough where nothing decodes them).
    """
    dataset = make_dataset(**keywords) if dataset is None else deepcopy(dataset)
    if transfer_syntax not in _UNCOMPRESSED and "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"
        dataset.PixelData = encapsulate(frames or _split(dataset))
        dataset["PixelData"].is_undefined_length = True
    elif "PixelData" in dataset:
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
        if transfer_syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    dataset.file_meta = _file_meta(dataset, transfer_syntax)
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def make_non_patient(sop_class_uid: str, **keywords: Any) -> Dataset:
    """Return a Data Set of no Patient, Study or Series, such as a Hanging Protocol."""
    dataset = Dataset()
    own = {"SOPClassUID": sop_class_uid, "SOPInstanceUID": new_uid()}
    for keyword, value in {"SpecificCharacterSet": "ISO_IR 192", **own, **keywords}.items():
        setattr(dataset, keyword, value)
    return dataset


def make_series(count: int, **keywords: Any) -> list[Dataset]:
    """Return `count` Data Sets of one Series, numbered from 1."""
    shared = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid(), **keywords}
    return [
        make_dataset(**shared, InstanceNumber=number, SliceLocation=str(number * 2.5))
        for number in range(1, count + 1)
    ]


def _identity() -> dict[str, Any]:
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": new_uid(),
        "StudyInstanceUID": new_uid(),
        "SeriesInstanceUID": new_uid(),
        "PatientID": "FR-0001",
        "IssuerOfPatientID": "Fileroom",
        "PatientName": "Müller^Änne=山田^花子=やまだ^はなこ",
        "PatientBirthDate": "19700131",
        "PatientSex": "F",
        "StudyID": "S1",
        "AccessionNumber": "A0001",
        "SeriesNumber": 2,
        "InstanceNumber": 1,
    }


def _description() -> dict[str, Any]:
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyDate": "20240229",
        "SeriesDate": "20240229",
        "AcquisitionDate": "20240229",
        "ContentDate": "20240229",
        "StudyTime": "101530",
        "SeriesTime": "101600",
        "ContentTime": "101612.25",
        "Modality": "CT",
        "Manufacturer": "Fileroom Works",
        "InstitutionName": "Universitätsklinikum",
        "StationName": "CT01",
        "ReferringPhysicianName": "Doe^Jane",
        "StudyDescription": "Thorax mit KM",
        "SeriesDescription": "Axial 5.0 B30f",
        "BodyPartExamined": "CHEST",
        "KVP": "120",
        "SliceThickness": "5",
        "PatientPosition": "HFS",
        "FrameOfReferenceUID": new_uid(),
        "ImagePositionPatient": ["-166.5", "-171.7", "-207.25"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "PixelSpacing": ["0.661468", "0.661468"],
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
    }


def _image() -> dict[str, Any]:
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 16,
        "Columns": 16,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }


def _split(dataset: Dataset) -> list[bytes]:
    frames = int(dataset.get("NumberOfFrames") or 1)
    length = len(dataset.PixelData) // frames
    return [dataset.PixelData[n * length : (n + 1) * length] for n in range(frames)]


def _file_meta(dataset: Dataset, transfer_syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["fileroom tests"])
    return meta
