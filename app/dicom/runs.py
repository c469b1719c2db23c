"""Whole runs of elements that come again and again, taken in one comparison.

Instances of a Series share nearly all elements, next to each other. A run is such a stretch with
its members; it is known by the header of its first element. Where a run stops to match although
most of its elements are still there, the ones that changed are taken out of it and marked as
changeable, so that runs soon lie between what differs from Instance to Instance. Where few match it
is another Series' run, and this Series gets one of its own.

Runs only say again what the memo's table says. Threads may share them: lists are replaced, never
changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Literal

from app.dicom.headers import SHORT_VRS

FEWEST = 6
"""Elements of a run; for fewer the comparison is not worth it."""
_MOST = 128
_CANDIDATES = 8
_HEADS = 2048
_HEADER = 8
_SHORT_LENGTH = Struct("<H"), 6
_BIG_SHORT_LENGTH = Struct(">H"), 6
_LONG_LENGTH = Struct("<L"), 4

Taken = tuple[int, int, bool]
"""Bytes, elements, and whether the next element may begin a run."""
_NOTHING: Taken = (0, 0, False)
_CHANGEABLE: Taken = (0, 0, True)


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of elements: its bytes, those of each element, and the members they make."""

    raw: bytes
    elements: tuple[bytes, ...]
    members: dict[int, bytes]


class Runs:
    """The runs of one table of the memo."""

    __slots__ = ("_at", "_heads", "_implicit", "_length", "_order")

    def __init__(self, implicit: bool, little_endian: bool) -> None:
        self._implicit = implicit
        self._order: Literal["little", "big"] = "little" if little_endian else "big"
        short = _SHORT_LENGTH if little_endian else _BIG_SHORT_LENGTH
        self._length, self._at = _LONG_LENGTH if implicit else short
        self._heads: dict[bytes, tuple[Run, ...]] = {}

    def __len__(self) -> int:
        """How many first elements are known."""
        return len(self._heads)

    def take(self, data: bytes, here: int, bound: int, members: dict[int, bytes]) -> Taken:
        """Add the members of the run that stands at `here`, if one does, wholly before `bound`."""
        candidates = self._heads.get(data[here : here + _HEADER])
        if candidates is None:
            return _NOTHING
        for run in candidates:
            if data.startswith(run.raw, here) and here + len(run.raw) <= bound:
                members.update(run.members)
                return len(run.raw), len(run.elements), True
        if not candidates:
            return _CHANGEABLE
        present = set(self._elements(data, here, bound))
        for run in candidates:
            if self._divide(run, present):
                return self.take(data, here, bound, members)
        return _NOTHING

    def record(self, data: bytes, here: int, end: int, known: Mapping[bytes, bytes]) -> int:
        """Keep a stretch of elements that the memo knows as a run; return the bytes it takes."""
        elements = tuple(self._elements(data, here, end))
        if len(elements) < FEWEST or not all(raw in known for raw in elements):
            return 0
        return self._keep(elements, [known[raw] for raw in elements])

    def _keep(self, elements: tuple[bytes, ...], found: list[bytes]) -> int:
        members = {self._tag(raw): m for raw, m in zip(elements, found, strict=True) if m}
        run = Run(b"".join(elements), elements, members)
        if len(self._heads) >= _HEADS:
            self._heads = {}
        head = run.raw[:_HEADER]
        self._heads[head] = (run, *self._heads.get(head, ()))[:_CANDIDATES]
        return 2 * len(run.raw)

    def _divide(self, run: Run, present: set[bytes]) -> bool:
        """Take a run apart if what changed are some of its elements only."""
        there = [raw in present for raw in run.elements]
        if all(there) or sum(there) * 2 < len(there):
            return False
        head = run.raw[:_HEADER]
        self._heads[head] = tuple(other for other in self._heads.get(head, ()) if other is not run)
        first = 0
        for i, is_there in enumerate([*there, False]):
            if not is_there:
                self._keep_part(run, first, i)
                first = i + 1
        for raw in run.elements:
            self._heads.setdefault(raw[:_HEADER], ())
        return True

    def _keep_part(self, run: Run, first: int, end: int) -> None:
        if end - first >= FEWEST:
            elements = run.elements[first:end]
            self._keep(elements, [run.members.get(self._tag(raw), b"") for raw in elements])

    def _elements(self, data: bytes, here: int, bound: int) -> Iterator[bytes]:
        """Yield elements as the fast gear takes them, not more than a run may have."""
        for _ in range(_MOST):
            if here + _HEADER > bound or not self._is_plain(data, here):
                return
            end = here + _HEADER + self._length.unpack_from(data, here + self._at)[0]
            if end > bound:
                return
            yield data[here:end]
            here = end

    def _is_plain(self, data: bytes, here: int) -> bool:
        return self._implicit or data[here + 4 : here + 6] in SHORT_VRS

    def _tag(self, raw: bytes) -> int:
        group, element = raw[:2], raw[2:4]
        return int.from_bytes(group, self._order) << 16 | int.from_bytes(element, self._order)
