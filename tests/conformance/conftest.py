"""A running archive, and the Python client that most tools are built on."""

from collections.abc import Iterator

import httpx
import pytest
import requests
from dicomweb_client import DICOMwebClient

from tests.live_server import LiveServer, serve


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An archive that was started by its command, on its own PostgreSQL."""
    with serve(tmp_path_factory.mktemp("live")) as server:
        yield server


@pytest.fixture
def dicomweb(live_server: LiveServer) -> Iterator[DICOMwebClient]:
    """The client of the package dicomweb-client, as its README shows it."""
    with requests.Session() as session:
        yield DICOMwebClient(url=live_server.dicomweb, session=session)


@pytest.fixture
def http(live_server: LiveServer) -> Iterator[httpx.Client]:
    """A plain HTTP client whose paths begin at the archive's root."""
    with httpx.Client(base_url=live_server.url, timeout=60) as client:
        yield client
