"""Pictures asked for again: what a request leads to is remembered, and the last small pictures.

A picture follows from stored bytes and the request alone. So where the place of an Instance shows
that the caller may see it, its digest and the request lead to the picture's name, and no Data Set
is looked at. Pictures themselves are in the cache; those sent last are held in memory, too, and
so are the Instances looked at last: who changes windows or frames asks for the same one again.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.index.places import InstancePlace

if TYPE_CHECKING:
    from app.archive.described import Described

MOST_KNOWN = 8192
"""Requests that are remembered, of about 1 kB each."""
MOST_BYTES = 16 * 2**20
MOST_DESCRIBED = 64
MOST_DAMAGED = 1024
LARGEST = 256 * 2**10
"""Bytes of a picture that is held in memory."""


@dataclass(frozen=True, slots=True)
class Known:
    """The answer to a request: one picture, `name` in the cache."""

    name: str
    media_type: str
    multipart: bool
    etag: str


class KnownPictures:
    """What one process remembers; the longest unused goes first."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Known] = OrderedDict()
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0
        self._described: OrderedDict[InstancePlace, Described] = OrderedDict()
        self._damaged: OrderedDict[bytes, None] = OrderedDict()

    def find(self, asked: Hashable) -> Known | None:
        """Return what was learnt of a request."""
        known = self._known.get(asked)
        if known is not None:
            self._known.move_to_end(asked)
        return known

    def learn(self, asked: Hashable, known: Known) -> None:
        """Remember what a request leads to; `asked` has the digests of all that it is made of."""
        self._known[asked] = known
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def picture(self, name: str) -> bytes | None:
        """Return a picture that is held."""
        picture = self._pictures.get(name)
        if picture is not None:
            self._pictures.move_to_end(name)
        return picture

    def hold(self, name: str, picture: bytes) -> None:
        """Hold a picture, unless it is large."""
        if len(picture) > LARGEST or name in self._pictures:
            return
        self._pictures[name] = picture
        self._held += len(picture)
        while self._held > MOST_BYTES:
            self._held -= len(self._pictures.popitem(last=False)[1])

    def described(self, place: InstancePlace) -> "Described | None":
        """Return what was learnt of the Instance that lies there."""
        return self._described.get(place)

    def learn_described(self, described: "Described") -> None:
        """Remember an Instance; what lies at a place never changes."""
        self._described[described.place] = described
        if len(self._described) > MOST_DESCRIBED:
            self._described.popitem(last=False)

    def clear(self) -> None:
        """Remember nothing: some of it may have been made of damaged bytes."""
        for memory in (self._known, self._pictures, self._described, self._damaged):
            memory.clear()
        self._held = 0

    def is_damaged(self, place: InstancePlace) -> bool:
        """Say whether an Instance was found to be none that can be shown."""
        return place.sha256 in self._damaged

    def learn_damaged(self, place: InstancePlace) -> None:
        """Remember that an Instance cannot be shown."""
        self._damaged[place.sha256] = None
        if len(self._damaged) > MOST_DAMAGED:
            self._damaged.popitem(last=False)
