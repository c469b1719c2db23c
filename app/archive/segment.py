"""A segment of the log as it lies in the object store, and what has to hold for a chain of them.

A segment is a JSON document whose lines are what is hashed and signed, byte for byte: its head on
the first, the signature over the head on the second, and each event on a line of its own.

    {"head":{"before":"…","entries":2,"first":"812.17","key":"…",…,"root":"…",…},
    "signature":"…",
    "entries":[
    {"actor":"…","at":"…","kind":"accepted","payload":{…},"position":"812.17"},
    {"actor":"…","at":"…","kind":"removed","payload":{…},"position":"815.20"}
    ]}

The head names the root of the Merkle tree over the events and the hash of the head before it, so a
signature stands for its own events and for all before them. JSON is canonical: keys are sorted,
there is no white space, text is UTF-8.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson

from app.archive.merkle import Tree
from app.archive.seal_keys import is_signed, key_id
from app.index.events import Event, Position
from app.index.seal_keys import REKEYED

TYPE = "fileroom segment 1"
_ENTRIES, _END = b'"entries":[', b"]}"
JsonObject: TypeAlias = Mapping[str, Any]


def canonical(value: object) -> bytes:
    """Return the one form of a JSON value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def moment(at: datetime) -> str:
    """Return a time as it stands in a segment: UTC, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_position(text: str) -> Position:
    """Return the position that a text stands for; a ValueError if it is none."""
    transaction, _, number = text.partition(".")
    return Position(int(transaction), int(number))


def entry_line(event: Event) -> bytes:
    """Return the line of an event, which is a leaf of the tree."""
    entry = {
        "position": str(event.position),
        "at": moment(event.at),
        "kind": event.kind,
        "actor": event.actor,
        "payload": event.payload,
    }
    return canonical(entry)


def read_entry(line: bytes) -> Event:
    """Return the event of a line; a ValueError, TypeError or KeyError if it is none."""
    entry = orjson.loads(line)
    at = datetime.strptime(entry["at"], "%Y-%m-%dT%H:%M:%S.%f%z")
    position = read_position(entry["position"])
    return Event(position, at, entry["kind"], entry["actor"], entry["payload"])


@dataclass(frozen=True, slots=True)
class Head:
    """What is signed. `before` is the hash of the head before, nothing for the first segment."""

    tenant_id: int
    number: int
    before: bytes
    first: Position
    last: Position
    entries: int
    root: bytes
    sealed_at: datetime
    key: str

    def as_bytes(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical(
            {
                "type": TYPE,
                "tenant": self.tenant_id,
                "number": self.number,
                "before": self.before.hex(),
                "first": str(self.first),
                "last": str(self.last),
                "entries": self.entries,
                "root": self.root.hex(),
                "sealed_at": moment(self.sealed_at),
                "key": self.key,
            }
        )

    @property
    def hash(self) -> bytes:
        """What the next head names."""
        return hashlib.sha256(self.as_bytes()).digest()


@dataclass(frozen=True, slots=True)
class Segment:
    """A head, its signature, and the lines of the events."""

    head: Head
    signature: bytes
    lines: tuple[bytes, ...]

    def as_bytes(self) -> bytes:
        """Return the object's bytes."""
        entries = b",\n".join(self.lines)
        head, signature = self.head.as_bytes(), self.signature.hex().encode()
        first = b'{"head":%b,\n"signature":"%b",\n' % (head, signature)
        return b"%b%b\n%b\n%b\n" % (first, _ENTRIES, entries, _END)

    @property
    def positions(self) -> list[Position]:
        """The positions of the events."""
        return [read_position(orjson.loads(line)["position"]) for line in self.lines]

    def check(self) -> None:
        """Read what is read of the lines; a ValueError, TypeError or KeyError if one is none."""
        self.positions, self.next_key  # noqa: B018

    @property
    def next_key(self) -> bytes | None:
        """The public key that seals from the next segment on, None if it stays the same."""
        last = orjson.loads(self.lines[-1])
        return bytes.fromhex(last["payload"]["new"]) if last["kind"] == REKEYED else None


def read_segment(data: bytes) -> Segment | None:
    """Return the segment that some bytes are, exactly as it would be written; None if none."""
    lines = data.split(b"\n")
    try:
        document = orjson.loads(b"%b%b}" % (lines[0], lines[1].removesuffix(b",")))
        entries = [line.removesuffix(b",") for line in lines[3:-3]] + lines[-3:-2]
        signature = bytes.fromhex(document["signature"])
        segment = Segment(_read_head(document["head"]), signature, tuple(entries))
        segment.check()
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None
    return segment if segment.as_bytes() == data else None


def _read_head(head: JsonObject) -> Head:
    return Head(
        tenant_id=int(head["tenant"]),
        number=int(head["number"]),
        before=bytes.fromhex(head["before"]),
        first=read_position(head["first"]),
        last=read_position(head["last"]),
        entries=int(head["entries"]),
        root=bytes.fromhex(head["root"]),
        sealed_at=datetime.strptime(head["sealed_at"], "%Y-%m-%dT%H:%M:%S.%f%z"),
        key=str(head["key"]),
    )


def faults_within(segment: Segment, public: bytes) -> Iterable[str]:
    """Yield what is wrong with a segment that a key should have signed."""
    head = segment.head
    if not is_signed(public, segment.signature, head.as_bytes()):
        yield "its signature is not that of its key"
    if head.entries != len(segment.lines) or head.root != Tree(segment.lines).root:
        yield "its entries are not those that were sealed"
        return
    positions = segment.positions
    if (head.first, head.last) != (positions[0], positions[-1]) or positions != sorted(positions):
        yield "its entries are not in order"


class Chain:
    """Looks at segments one after the other, from the first or from any other one on.

    `keys` are the public keys to trust; one that a segment names as its successor is trusted, too,
    and is the one that the next segment has to be signed with.
    """

    def __init__(self, keys: Iterable[bytes], tenant_id: int | None = None) -> None:
        self._keys = {key_id(public): public for public in keys}
        self._tenant_id = tenant_id
        self._key: str | None = None
        self._before: tuple[int, bytes, Position] = (0, b"", Position())

    def begin_after(self, number: int, digest: bytes, last: Position | None = None) -> None:
        """Expect the segment after one of this number, whose head has this hash.

        It may be signed with any of the keys.
        """
        self._before, self._key = (number, digest, last or Position()), None

    def copy(self) -> "Chain":
        """Return one that expects the same segment, to look at several that may be it."""
        other = Chain(self._keys.values(), self._tenant_id)
        other._key, other._before = self._key, self._before
        return other

    def trusted(self, name: str) -> bytes | None:
        """Return the public key of a name, if it is to be trusted by now."""
        return self._keys.get(name)

    def faults(self, segment: Segment) -> list[str]:
        """Return what is wrong with the next segment, nothing if it is sound."""
        head = segment.head
        found = list(self._faults_of_place(head))
        public = self._keys.get(head.key)
        if public is None:
            found.append(f"its key {head.key} is not one that is trusted")
        else:
            found += faults_within(segment, public)
        if self._key is not None and self._key != head.key:
            found.append("it is signed with a key that the log did not change to")
        self.begin_after(head.number, head.hash, head.last)
        if not found:
            following = segment.next_key or self._keys[head.key]
            self._key = key_id(following)
            self._keys[self._key] = following
        return found

    def _faults_of_place(self, head: Head) -> Iterable[str]:
        number, digest, last = self._before
        if self._tenant_id not in {None, head.tenant_id}:
            yield "it is of another tenant"
        if head.number != number + 1:
            yield f"segment {number + 1} was expected here, and it is {head.number}"
        elif head.before != digest:
            yield "it does not go on from the segment before it"
        elif head.first <= last:
            yield "it begins before the segment before it ends"
