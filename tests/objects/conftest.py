from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.dicom.limits import Limits
from app.objects.base import ObjectStore
from app.objects.local import LocalStore
from app.objects.staging import Staging


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    staging = Staging(tmp_path / "objects" / "staging", Limits(memory_part_bytes=1000))
    yield staging
    staging.close()


@pytest.fixture(params=["local"])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    assert request.param == "local"
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()
