from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from app.dicom.media_directory import referenced_files
from app.dicom.source import BytesSource
from tests.factories import make_part10

DICOMDIRS = sorted(Path(str(get_testdata_file("DICOMDIR"))).parent.glob("DICOMDIR*"))


@pytest.mark.parametrize("path", DICOMDIRS, ids=lambda path: path.name)
def test_the_files_are_those_that_pydicom_reads(path: Path) -> None:
    named = [
        tuple(record.ReferencedFileID)
        if record["ReferencedFileID"].VM > 1
        else (record.ReferencedFileID,)
        for record in dcmread(path).get("DirectoryRecordSequence", ())
        if record.get("ReferencedFileID")
    ]
    assert referenced_files(BytesSource(path.read_bytes())) == named


def test_there_are_dicomdirs_to_try() -> None:
    assert len(DICOMDIRS) > 3


def test_an_instance_names_no_files() -> None:
    assert referenced_files(BytesSource(make_part10())) == []
