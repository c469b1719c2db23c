"""Fixtures for tests of the bridge: one live archive for all, and a bridge to it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from app.dimse.server import Plan, Speaker, speaker
from tests.bridges import RunningBridge, bridge_to
from tests.live_server import LiveServer, serve


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An archive that all tests of the bridge share: their Instances have UIDs of their own."""
    with serve(tmp_path_factory.mktemp("archive")) as server:
        yield server


@pytest.fixture(scope="session")
def bridge(archive: LiveServer) -> Iterator[RunningBridge]:
    """A bridge that is open to all, and sends nothing on."""
    with bridge_to(archive, forwardings=0) as running:
        yield running


@pytest.fixture
def ours(archive: LiveServer) -> Iterator[Speaker]:
    """Who speaks to our archive, and in its name."""
    speaking = speaker(Plan(archive.url, {}, "OURS"))
    with closing(speaking.archive.connections):
        yield speaking
