"""Series repeat themselves: what an encoded element looked like in DICOM JSON is remembered.

A table belongs to all that a fragment depends on beside the element's own bytes (encoding and
character sets). In it the raw bytes of an element, header included, lead to its JSON member; an
element that has none, such as a group length, leads to nothing (b"").

The memory is bounded in two generations: when the young one is full it becomes the old one, and
what is still used moves over from there. All threads of a process may share a memo: every step is
a single operation on a dict.
"""

from dataclasses import dataclass, field

from app.dicom.runs import Runs

_CANDIDATES = 8
_HEAD = 24
OVERHEAD = 200
"""What an entry takes beside its bytes: two bytes objects and a slot."""


Context = tuple[bool, bool, tuple[str, ...]]
"""Implicit VR, little endian, and the codecs of the Specific Character Set."""


@dataclass(slots=True)
class Table:
    """Members of elements in one encoding and character set; sequences with their element count."""

    implicit: bool = False
    little_endian: bool = True
    young: dict[bytes, bytes] = field(default_factory=dict)
    old: dict[bytes, bytes] = field(default_factory=dict)
    sequences: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    old_sequences: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    open_sequences: dict[bytes, tuple[tuple[bytes, bytes, int], ...]] = field(default_factory=dict)
    """By their first bytes: those of undefined length, whose own bytes tell where they end."""
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.runs = Runs(self.implicit, self.little_endian)


class Memo:
    """A bounded memory of encoded elements, shared by a process's scans with the same Limits."""

    def __init__(self, capacity_bytes: int = 32 * 2**20) -> None:
        self._half = capacity_bytes // 2
        self._held = 0
        self._tables: dict[Context, Table] = {}

    @property
    def held_bytes(self) -> int:
        """About how much the young generation takes."""
        return self._held

    @property
    def tables(self) -> int:
        """How many contexts are remembered."""
        return len(self._tables)

    def table(self, key: Context) -> Table:
        """Return the table for a context, made when it is new; few contexts exist at a time."""
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= 256:
                self._tables.clear()
                self._held = 0
            table = self._tables.setdefault(key, Table(key[0], key[1]))
        return table

    def recall(self, table: Table, raw: bytes) -> bytes | None:
        """Return the member of an element that the young generation lacks."""
        member = table.old.get(raw)
        if member is not None:
            self.learn(table, raw, member)
        return member

    def learn(self, table: Table, raw: bytes, member: bytes) -> None:
        """Remember the member of an element."""
        self._grow(len(raw) + len(member))
        table.young[raw] = member

    def recall_sequence(self, table: Table, raw: bytes) -> tuple[bytes, int] | None:
        """Return the member of a whole sequence and how many elements are in it."""
        found = table.sequences.get(raw)
        if found is None:
            found = table.old_sequences.get(raw)
            if found is not None:
                self.learn_sequence(table, raw, *found)
        return found

    def learn_sequence(self, table: Table, raw: bytes, member: bytes, elements: int) -> None:
        """Remember a whole sequence of defined length that has no bulk values."""
        self._grow(len(raw) + len(member))
        table.sequences[raw] = (member, elements)

    def recall_open(self, table: Table, data: bytes, here: int) -> tuple[bytes, bytes, int] | None:
        """Return bytes, member and element count of a sequence of undefined length at `here`."""
        for found in table.open_sequences.get(data[here : here + _HEAD], ()):
            if data.startswith(found[0], here):
                return found
        return None

    def learn_open(self, table: Table, raw: bytes, member: bytes, elements: int) -> None:
        """Remember a whole sequence of undefined length, its delimiter included."""
        self._grow(len(raw) + len(member))
        others = table.open_sequences.get(raw[:_HEAD], ())
        table.open_sequences[raw[:_HEAD]] = ((raw, member, elements), *others)[:_CANDIDATES]

    def learn_run(self, table: Table, data: bytes, here: int, end: int) -> None:
        """Remember a stretch of elements that are known one by one."""
        self._grow(table.runs.record(data, here, end, table.young))

    def _grow(self, size: int) -> None:
        self._held += size + OVERHEAD
        if self._held > self._half:
            self._held = size + OVERHEAD
            for table in list(self._tables.values()):
                table.old, table.young = table.young, {}
                table.old_sequences, table.sequences = table.sequences, {}
                table.open_sequences = {}
                table.runs = Runs(table.implicit, table.little_endian)
