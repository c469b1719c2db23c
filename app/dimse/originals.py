"""Instances for peers: the stored file of each, in an encoding that the peer takes.

What is stored is preferred. What is stored without compression is written in another plain Transfer
Syntax here; all else is the archive's to transcode.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from app.dicom.file_meta import HEAD_BYTES, read_file_meta
from app.dicom.limits import Limits
from app.dicom.recode import plain_dataset
from app.dicom.source import Source
from app.dicom.transfer_syntaxes import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    find,
)
from app.dimse.archive import Archive
from app.dimse.connections import NoAnswer
from app.dimse.messages import MessageLimits
from app.dimse.peers import Peer
from app.dimse.received import ReceivedBytes

AHEAD = 4
"""Instances that are fetched while those before them are sent."""
PLAIN = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)


@dataclass(frozen=True, slots=True)
class Found:
    """An Instance of the archive."""

    sop_class_uid: str
    study: str
    series: str
    instance: str
    transfer_syntax_uid: str


SHOWN = (("includefield", "00083002"), ("includefield", "00080016"))
"""What a Search has to show beside what it always shows, for `found_of`."""


def found_of(match: Mapping[str, Any]) -> Found:
    """Return the Instance that a match of a Search describes."""
    keys = ("00080016", "0020000D", "0020000E", "00080018", "00083002")
    return Found(*(str((match.get(key, {}).get("Value") or [""])[0] or "") for key in keys))


@dataclass(frozen=True, slots=True)
class Way:
    """How an Instance goes to a peer: by which context, what is asked of the archive, what of us.

    `transcoded` is the Transfer Syntax that the archive is asked for, '' for what is stored;
    `rewritten` the plain one that is made of that here, '' for none.
    """

    context_id: int
    transcoded: str = ""
    rewritten: str = ""


def choose_way(accepted: Mapping[tuple[str, str], int], found: Found) -> Way | None:
    """Return the best way, None if there is none.

    `accepted` are the contexts that may be used, by SOP Class and Transfer Syntax.
    """
    stored, sop_class = found.transfer_syntax_uid, found.sop_class_uid
    if (sop_class, stored) in accepted:
        return Way(accepted[sop_class, stored])
    row = find(stored)
    compressed = row is None or row.encapsulated
    for syntax in PLAIN:
        if (sop_class, syntax) in accepted:
            asked = EXPLICIT_LITTLE_ENDIAN if compressed else ""
            rewritten = "" if syntax == asked else syntax
            return Way(accepted[sop_class, syntax], asked, rewritten)
    others = [syntax for known, syntax in accepted if known == sop_class]
    return Way(accepted[sop_class, others[0]], others[0]) if others else None


class _Held:
    """Received bytes as a Source."""

    def __init__(self, data: ReceivedBytes) -> None:
        self._data = data
        self.size = data.size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        return self._data.read(offset, length)


class Fetched:
    """An Instance that has come from the archive."""

    def __init__(self, data: ReceivedBytes, way: Way, transfer_syntax_uid: str) -> None:
        self._data, self.way, self._syntax = data, way, transfer_syntax_uid

    def data_set(self, limits: Limits) -> Iterator[bytes]:
        """Yield the data set as the peer gets it.

        Raises:
            InvalidDataset: it cannot be written in another Transfer Syntax.
        """
        source: Source = _Held(self._data)
        if self.way.rewritten:
            implicit = self.way.rewritten == IMPLICIT_LITTLE_ENDIAN
            return plain_dataset(source, self._syntax, limits, implicit=implicit)
        start = read_file_meta(source.read(0, HEAD_BYTES)).elements_offset
        return self._data.chunks(start)

    def close(self) -> None:
        """Forget it."""
        self._data.close()


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches Instances for a peer."""

    archive: Archive
    limits: MessageLimits

    def fetch(self, peer: Peer, found: Found, way: Way) -> Fetched:
        """Return an Instance in the way that was chosen.

        Raises:
            NoAnswer: the archive does not answer, or has it not.
            OSError: there is no room for it here.
        """
        base = f"/studies/{found.study}/series/{found.series}/instances/{found.instance}"
        path, headers = f"/api/v1{base}/original", {}
        if way.transcoded:
            path = f"/dicom-web{base}"
            headers["Accept"] = f"application/dicom; transfer-syntax={way.transcoded}"
        limits = self.limits
        data = ReceivedBytes(limits.memory_bytes, limits.data_set_bytes, limits.directory)
        try:
            self.archive.receive(peer, path, headers, data)
        except BaseException:
            data.close()
            raise
        return Fetched(data, way, way.transcoded or found.transfer_syntax_uid)

    def fetch_all(
        self, peer: Peer, wanted: Iterable[tuple[Found, Way | None]]
    ) -> Iterator[tuple[Found, Fetched | None]]:
        """Yield Instances in their order, some fetched ahead; None for what cannot be had."""
        waiting: deque[tuple[Found, Future[Fetched] | None]] = deque()
        with ThreadPoolExecutor(AHEAD) as pool:
            try:
                for found, way in wanted:
                    future = pool.submit(self.fetch, peer, found, way) if way else None
                    waiting.append((found, future))
                    if len(waiting) > AHEAD:
                        yield _settled(*waiting.popleft())
                while waiting:
                    yield _settled(*waiting.popleft())
            finally:
                for _, future in waiting:
                    if future is not None and not future.cancel():
                        future.add_done_callback(_forget)


def _settled(found: Found, future: "Future[Fetched] | None") -> tuple[Found, Fetched | None]:
    if future is None:
        return found, None
    try:
        return found, future.result()
    except (NoAnswer, OSError):
        return found, None


def _forget(future: "Future[Fetched]") -> None:
    if future.exception() is None:
        future.result().close()
