"""Instances of one request that are put and wait for its end, in little memory.

A request may have 100,000 parts. What a scan found in each is some hundred fragments, nearly all of
them the same objects in every Instance of a Series; it is their dict that takes the memory. While
they wait, the values alone are kept, and the tags once for all that have the same. The first ones
are kept as they are: most requests have few parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.dicom.uids import SeriesRef
from app.index.instances import NewInstance

FEW = 100
"""Instances that are kept as they are."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An Instance whose object is put; `instance` gives it whole."""

    sop_class_uid: str
    _new: NewInstance
    _tags: tuple[int, ...] = ()
    _values: tuple[bytes, ...] = ()

    @property
    def object_key(self) -> str:
        """The key of its object."""
        return self._new.object_key

    @property
    def series(self) -> SeriesRef:
        """The Series that it belongs to."""
        ref = self._new.ref
        return SeriesRef(ref.study, ref.series)

    def instance(self) -> NewInstance:
        """Return what the index takes."""
        if not self._tags:
            return self._new
        fragments = dict(zip(self._tags, self._values, strict=True))
        return replace(self._new, scanned=replace(self._new.scanned, fragments=fragments))


class Placing:
    """Makes `Placed` for one request."""

    def __init__(self) -> None:
        self._count = 0
        self._tags: dict[tuple[int, ...], tuple[int, ...]] = {}

    def place(self, new: NewInstance, sop_class_uid: str) -> Placed:
        """Return an Instance as it waits."""
        self._count += 1
        if self._count <= FEW:
            return Placed(sop_class_uid, new)
        fragments = new.scanned.fragments
        tags = tuple(fragments)
        tags = self._tags.setdefault(tags, tags)
        values: Sequence[bytes] = tuple(fragments.values())
        bare = replace(new, scanned=replace(new.scanned, fragments={}))
        return Placed(sop_class_uid, bare, tags, tuple(values))
