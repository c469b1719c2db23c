"""The manifest of a day: all that was sealed on it, in one document that proves itself.

It has the segments of the day (UTC) as they lie in the object store, and a head of its own that
says which they are and what they go on from. The signature over that head is by the key that seals
after them: so neither the day's first segments nor its last can be left out unseen. A day goes on
from the day before, as its first segment does.

Like a segment it is JSON whose lines are read one by one, so that a long day needs no memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date

import orjson

from app.archive.seal_keys import is_signed, key_id
from app.archive.segment import Chain, JsonObject, Segment, canonical, read_segment
from app.errors import InvalidRequest

TYPE = "fileroom manifest 1"
_SEGMENTS, _END = b'"segments":[', b"]}"


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What is signed: segments from `first` to `last`, whose head has the hash `last_hash`.

    `before` is the hash of the segment before them, nothing if there is none. A day that is not
    over is not `complete`.
    """

    tenant_id: int
    day: date
    complete: bool
    first: int
    last: int
    entries: int
    before: bytes
    last_hash: bytes
    key: str

    def as_bytes(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical(
            {
                "type": TYPE,
                "tenant": self.tenant_id,
                "date": self.day.isoformat(),
                "complete": self.complete,
                "first": self.first,
                "last": self.last,
                "entries": self.entries,
                "before": self.before.hex(),
                "hash": self.last_hash.hex(),
                "key": self.key,
            }
        )


def manifest_start(head: ManifestHead, signature: bytes, keys: Iterable[bytes]) -> bytes:
    """Return what stands before the segments; `keys` are all public keys, for who looks into it."""
    named = canonical({key_id(public): public.hex() for public in keys})
    signed = signature.hex().encode()
    start = b'{"manifest":%b,\n"signature":"%b",\n' % (head.as_bytes(), signed)
    return b'%b"keys":%b,\n%b\n' % (start, named, _SEGMENTS)


def manifest_segment(segment: Segment, *, first: bool) -> bytes:
    """Return a segment as it stands in a manifest."""
    between = b"" if first else b",\n"
    return between + segment.as_bytes().removesuffix(b"\n")


MANIFEST_END = b"\n" + _END + b"\n"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest whose head was read; its segments follow in `lines`."""

    head: ManifestHead
    signature: bytes
    lines: Iterator[bytes]

    def segments(self) -> Iterator[Segment | None]:
        """Yield the segments, None for what is none; the document's end has to come after them."""
        held: list[bytes] = []
        for line in self.lines:
            bare = line.rstrip(b"\n")
            if not held and bare == _END:
                return
            held.append(bare)
            if bare in {_END, _END + b","}:
                held[-1] = _END
                yield read_segment(b"\n".join([*held, b""]))
                held = []
        yield None


def read_manifest(lines: Iterator[bytes]) -> Manifest:
    """Return a manifest from the lines of its file.

    Raises:
        InvalidRequest: they are none.
    """
    try:
        first, second, _, fourth = (next(lines, b"").rstrip(b"\n") for _ in range(4))
        document = orjson.loads(b"%b%b}" % (first, second.removesuffix(b",")))
        head = _read_head(document["manifest"])
        signature = bytes.fromhex(document["signature"])
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest("A manifest was expected, as `fileroom manifest` writes it") from None
    if first != b'{"manifest":%b,' % head.as_bytes() or fourth != _SEGMENTS:
        raise InvalidRequest("The manifest is not as `fileroom manifest` writes it")
    return Manifest(head, signature, lines)


def _read_head(head: JsonObject) -> ManifestHead:
    return ManifestHead(
        tenant_id=int(head["tenant"]),
        day=date.fromisoformat(head["date"]),
        complete=bool(head["complete"]),
        first=int(head["first"]),
        last=int(head["last"]),
        entries=int(head["entries"]),
        before=bytes.fromhex(head["before"]),
        last_hash=bytes.fromhex(head["hash"]),
        key=str(head["key"]),
    )


class ManifestProof:
    """Proves a manifest with public keys alone; `faults` are what is wrong, by the end of it.

    Of several manifests each goes on from the one `before` it.
    """

    def __init__(self, manifest: Manifest, keys: Iterable[bytes]) -> None:
        self.head = manifest.head
        self.faults: list[str] = []
        self._manifest = manifest
        self._chain = Chain(keys, self.head.tenant_id)
        self._chain.begin_after(self.head.first - 1, self.head.before)

    def segments(self) -> Iterator[Segment]:
        """Yield the sound segments in order; `faults` are known when all were taken."""
        head, entries, last = self.head, 0, None
        for segment in self._manifest.segments():
            if segment is None:
                self.faults.append("what follows is no segment of the log, or its end is missing")
                continue
            found = self._chain.faults(segment)
            if segment.head.sealed_at.astimezone(UTC).date() != head.day:
                found.append(f"it was not sealed on {head.day}")
            entries, last = entries + len(segment.lines), segment.head
            self.faults += [f"segment {last.number}: {fault}" for fault in found]
            if not found:
                yield segment
        if last is None or (last.number, last.hash) != (head.last, head.last_hash):
            self.faults.append(f"its last segment is not segment {head.last}, as it was signed")
        if entries != head.entries:
            self.faults.append(f"it has {entries} entries, and {head.entries} were signed")
        self._check_signature()

    def _check_signature(self) -> None:
        public = self._chain.trusted(self.head.key)
        if public is None:
            self.faults.append(f"its key {self.head.key} is not one that is trusted")
        elif not is_signed(public, self._manifest.signature, self.head.as_bytes()):
            self.faults.append("its own signature is not that of its key")

    def follows(self, other: ManifestHead) -> bool:
        """Say whether this day goes on where another one ended."""
        return (self.head.first, self.head.before) == (other.last + 1, other.last_hash)
