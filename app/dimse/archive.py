"""The archive, as the bridge sees it: an address, and a key for each peer."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from app.dimse.connections import Connections, NoAnswer, Response
from app.dimse.peers import Peer
from app.dimse.received import ReceivedBytes

_PAUSE = 0.1
JSON, DICOM_JSON = "application/json", "application/dicom+json"
CALLING_AE = "Fileroom-Calling-AE"
"""Names the AE that the bridge asks for; the archive heeds it of services (PS3.8 §7.1.1.3)."""
_NO_FIELDS: Mapping[str, str] = {}
Query = Sequence[tuple[str, str]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: pieces that can be had again for another try, and their length."""

    content_type: str
    size: int
    pieces: Iterable[bytes]


def json_body(value: Any, content_type: str = JSON) -> Body:
    """Return a value as the JSON document that a request carries."""
    data = orjson.dumps(value)
    return Body(content_type, len(data), (data,))


def problem_of(response: Response) -> dict[str, Any]:
    """Return the problem document of an answer, {} if it has none."""
    try:
        problem = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive; `patience` is how long an answer is waited for that does not come.

    A request is made again within that time if the archive is not there, or says that it will be
    (503): it may be starting. Every request of the bridge may be made twice.
    """

    connections: Connections
    keys: Mapping[str, str]
    patience: float

    def headers(self, peer: Peer | None) -> dict[str, str]:
        """Return the header fields that say who asks, and for which AE; None is the bridge."""
        title = peer.ae_title if peer else ""
        key = self.keys.get(title, self.keys.get("", ""))
        said = {"Authorization": f"Bearer {key}" if key else "", CALLING_AE: title}
        return {name: value for name, value in said.items() if value}

    def send(
        self,
        peer: Peer | None,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        headers: Mapping[str, str] = _NO_FIELDS,
        params: Query = (),
    ) -> Response:
        """Ask the archive, and return its whole answer.

        Raises:
            NoAnswer: it did not answer in time.
        """
        fields = {**self.headers(peer), **headers}
        if body is not None:
            fields["Content-Type"] = body.content_type
        if body is not None or method != "GET":
            fields["Content-Length"] = str(body.size if body else 0)
        target = f"{path}?{urlencode(params)}" if params else path
        end, pause = time.monotonic() + self.patience, 0.0
        while True:
            pieces = () if body is None else body.pieces
            try:
                response = self.connections.send(method, target, fields, pieces)
            except NoAnswer as error:
                if time.monotonic() + pause >= end:
                    raise
                _log.info("the archive is asked again: %s", error)
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
            NoAnswer: the archive does not answer, or answers with an error.
            OSError: there is no room for it here.
        """

        def take(piece: memoryview) -> bool:
            into.write(piece)
            return not into.trouble

        code = self.connections.receive(path, {**self.headers(peer), **headers}, take)
        if code != 200:
            raise NoAnswer(f"HTTP status {code}")
        if into.trouble:
            raise OSError(into.trouble)
