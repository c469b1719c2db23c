"""Make the data directory of this version that every later version must open.

    python -m tests.make_data_directory

writes tests/fixtures/data-directory-<version>.tar.xz: a cluster and objects, made by the store use
case, and `expected.json`: what they answered then. Run it once for each release, and keep them all.
"""

import asyncio
import json
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app import __version__
from app.archive.context import Archive, Place, open_archive
from app.archive.store import store_instances
from app.index.embedded import EmbeddedPostgres
from app.index.migrations import migrate
from app.rights import Principal
from tests.data_directory import FIXTURES, describe
from tests.factories import make_part10, make_series

SAMPLES = ("emri_small_RLE.dcm", "MR_small_jp2klossless.dcm", "image_dfl.dcm", "liver.dcm")
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def make_parts() -> list[bytes]:
    """Return Instances of all kinds of encoding and frame tables."""
    series = zip(make_series(3), SYNTAXES, strict=True)
    parts = [make_part10(dataset, transfer_syntax=syntax) for dataset, syntax in series]
    found = (get_testdata_file(name) for name in SAMPLES)
    return [*parts, *(Path(path).read_bytes() for path in found if isinstance(path, str))]


async def fill(archive: Archive) -> dict[str, Any]:
    """Store the Instances and return what they answer."""

    async def chunks(part: bytes) -> AsyncIterator[bytes]:
        yield part

    async def parts() -> AsyncIterator[AsyncIterator[bytes]]:
        for part in make_parts():
            yield chunks(part)

    report = await store_instances(archive, Principal("fixture"), parts())
    if len(report.stored) != len(SYNTAXES) + len(SAMPLES):
        raise SystemExit(f"not all were stored: {report}")
    return await describe(archive)


async def make(directory: Path, url: str) -> None:
    """Fill a data directory whose PostgreSQL answers at `url`."""
    async with open_archive(Place(url, directory / "objects", directory / "cache")) as archive:
        expected = await fill(archive)
    (directory / "expected.json").write_text(json.dumps(expected, indent=1), "utf-8")
    shutil.rmtree(directory / "cache")


def main() -> None:
    """Make the fixture of this version."""
    FIXTURES.mkdir(exist_ok=True)
    target = FIXTURES / f"data-directory-{__version__}.tar.xz"
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "data"
        server = EmbeddedPostgres(directory / "postgres", settings={"max_wal_size": "32MB"})
        server.start()
        try:
            server.ensure_database("fileroom")
            migrate(server.url("fileroom"))
            asyncio.run(make(directory, server.url("fileroom")))
        finally:
            server.stop()
        with lzma.open(target, "wb", preset=9) as packed, tarfile.open(None, "w", packed) as tar:
            tar.add(directory, "data")


if __name__ == "__main__":
    main()
