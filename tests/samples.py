"""The sample files of pydicom and of the package pydicom-data: real Instances of many makers."""

from pathlib import Path

import data_store
import pydicom.data

_FOLDERS = (
    Path(pydicom.data.__file__).parent / "test_files",
    Path(pydicom.data.__file__).parent / "charset_files",
    Path(pydicom.data.__file__).parent / "palettes",
    Path(data_store.__file__).parent / "data",
)


def _looks_like_dicom(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".dcm" or path.read_bytes()[128:132] == b"DICM")


SAMPLES: tuple[Path, ...] = tuple(
    sorted(path for folder in _FOLDERS for path in folder.rglob("*") if _looks_like_dicom(path))
)
"""All of them, some broken on purpose, some without preamble or File Meta Information."""

UNREADABLE = frozenset({"no_meta.dcm", "MR_truncated.dcm", "rtplan_truncated.dcm"})
"""Samples that end within a value, or have no beginning: no scan reads them."""


def sample_id(path: Path) -> str:
    """Return a name for a test's parameter: the file's name and its folder's."""
    return f"{path.parent.name}/{path.name}"
