"""The archive, as the bridge sees it: an address, and a key for each peer."""

import logging
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from app.dimse.peers import Peer
from app.dimse.received import ReceivedBytes

_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 300.0
_PAUSE = 0.1
_PIECE = 2**18
JSON, DICOM_JSON = "application/json", "application/dicom+json"
CALLING_AE = "Fileroom-Calling-AE"
"""Names the AE that the bridge asks for; the archive heeds it of services (PS3.8 §7.1.1.3)."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: pieces that can be had again for another try, and their length."""

    content_type: str
    size: int
    pieces: "Pieces"


class Pieces:
    """Bytes that can be read more than once."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield them from the beginning."""
        raise NotImplementedError


class _Json(Pieces):
    """A JSON document."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        """Yield it."""
        yield self._data


def json_body(value: Any, content_type: str = JSON) -> Body:
    """Return a value as the JSON document that a request carries."""
    data = orjson.dumps(value)
    return Body(content_type, len(data), _Json(data))


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive at `url`; `patience` is how long an answer is waited for that does not come.

    A request is made again within that time if the archive is not there, or says that it will be
    (503): it may be starting. Every request of the bridge may be made twice.
    """

    url: str
    client: httpx.Client
    keys: Mapping[str, str]
    patience: float

    def headers(self, peer: Peer | None) -> dict[str, str]:
        """Return the header fields that say who asks, and for which AE; None is the bridge."""
        title = peer.ae_title if peer else ""
        key = self.keys.get(title, self.keys.get("", ""))
        said = {"Authorization": f"Bearer {key}" if key else "", CALLING_AE: title}
        return {name: value for name, value in said.items() if value}

    def send(
        self, peer: Peer | None, method: str, path: str, body: Body | None = None, **more: Any
    ) -> httpx.Response:
        """Ask the archive, and return its whole answer.

        Raises:
            httpx.HTTPError: it did not answer in time.
        """
        headers = {**self.headers(peer), **more.pop("headers", {})}
        if body is not None:
            headers["Content-Type"] = body.content_type
            headers["Content-Length"] = str(body.size)
        end, pause = time.monotonic() + self.patience, 0.0
        while True:
            content = None if body is None else iter(body.pieces)
            try:
                response = self.client.request(
                    method, f"{self.url}{path}", headers=headers, content=content, **more
                )
            except httpx.TransportError as error:
                if time.monotonic() + pause >= end:
                    raise
                _log.info("the archive is asked again: %s", type(error).__name__)
            else:
                if response.status_code != 503 or time.monotonic() + pause >= end:
                    return response
            time.sleep(pause)
            pause = min(2 * pause + _PAUSE, 2.0)

    def receive(
        self, peer: Peer | None, path: str, headers: Mapping[str, str], into: ReceivedBytes
    ) -> None:
        """Have the body of an answer written, which may be larger than memory.

        Raises:
            httpx.HTTPError: the archive does not answer, or answers with an error.
            OSError: there is no room for it here.
        """
        everything = {**self.headers(peer), "Accept-Encoding": "identity", **headers}
        with self.client.stream("GET", f"{self.url}{path}", headers=everything) as response:
            response.raise_for_status()
            for chunk in response.iter_raw(_PIECE):
                into.write(memoryview(chunk))
                if into.trouble:
                    raise OSError(into.trouble)


def open_client(associations: int, ca_file: Path | None) -> httpx.Client:
    """Return a client with connections enough for so many associations."""
    verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
    return httpx.Client(
        timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=associations),
        verify=verify,
        trust_env=False,
    )
