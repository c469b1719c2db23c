"""An Instance whose bytes were lost comes again: on the real index and local objects."""

from pathlib import Path

import pytest

from app.archive.context import Archive
from app.archive.examine import State
from app.dicom.store_report import Failed, FailureReason, Stored
from app.index.events import Position, read_events
from app.rights import Principal
from tests.archive.test_store import store
from tests.archive.test_verify import files, found
from tests.factories import make_part10


@pytest.mark.parametrize("loss", ["bit", "cut", "gone"])
async def test_the_same_bytes_mend_what_was_lost(
    archive: Archive, principal: Principal, tmp_path: Path, loss: str
) -> None:
    data = make_part10()
    await store(archive, principal, data)
    (path,) = files(tmp_path)
    _lose(path, loss)
    (result,) = (await store(archive, principal, data)).results
    assert isinstance(result, Stored)
    assert not result.known
    kept = [one for one in files(tmp_path) if one != path]
    assert [one.read_bytes() for one in kept] == [data]
    told = await found(archive)
    assert set(told) <= {State.WHOLE, State.UNNAMED}
    assert len(told[State.WHOLE]) == 1
    (again,) = (await store(archive, principal, data)).results
    assert isinstance(again, Stored)
    assert again.known
    events = await read_events(archive.index, 1, Position())
    assert [event.kind for event in events] == ["accepted", "mended"]


def _lose(path: Path, loss: str) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    if loss == "gone":
        path.rename(path.with_suffix(".elsewhere"))
    else:
        path.write_bytes(data if loss == "bit" else data[:200])


async def test_who_sends_other_bytes_of_what_was_lost_is_not_told_that_it_is_safe(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    data = make_part10()
    await store(archive, principal, data)
    (path,) = files(tmp_path)
    _lose(path, "bit")
    (result,) = (await store(archive, principal, b"\1" * 128 + data[128:])).results
    assert isinstance(result, Failed)
    assert result.reason == FailureReason.PROCESSING_FAILURE
    assert "lost" in result.comment
    assert files(tmp_path) == [path]
