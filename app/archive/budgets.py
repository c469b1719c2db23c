"""How much of what is expensive is done at once, in one process; `app.turns` shares it out.

Beyond that requests wait a while, and then are told to ask again: the archive answers some in time
and the others soon, instead of all too late.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.dicom.limits import Limits
from app.turns import Turns

_PREPARED = 2
"""Pictures whose frames are read while all decoding processes are busy."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The turns of each kind of expensive work."""

    uploads: Turns
    """Store requests, from before the first byte of a body is read to the answer's end."""
    downloads: Turns
    """Answers with all Instances of a Study or Series, or a zip."""
    searches: Turns
    """Searches that return or look into what is not in the index, or return very much."""
    pixels: Turns
    """Frames that are rendered, decoded or encoded, and reports that are set as PDF."""

    def __iter__(self) -> Iterator[Turns]:
        yield from (self.uploads, self.downloads, self.searches, self.pixels)


def make_budgets(limits: Limits, codec_workers: int) -> Budgets:
    """Return the budgets that the limits allow.

    What lasts as long as a client likes, uploads and downloads, nobody has more than three quarters
    of; the rest is over soon, and going round is enough.
    """

    def turns(name: str, size: int, most_each: int | None = None) -> Turns:
        waiting = limits.waiting_requests
        return Turns(name, size, limits.waiting_seconds, most_waiting=waiting, most_each=most_each)

    return Budgets(
        uploads=turns("uploads", limits.uploads, _most_each(limits.uploads)),
        downloads=turns("downloads", limits.downloads, _most_each(limits.downloads)),
        searches=turns("wide searches", limits.wide_searches),
        pixels=turns("renderings", codec_workers + _PREPARED),
    )


def _most_each(size: int) -> int:
    return max(1, size * 3 // 4)
