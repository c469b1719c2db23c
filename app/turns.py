"""Whose turn it is: so much at once, shared out fairly among those who ask.

A request belongs to an `Asker`, who is known wherever its work goes: tasks and threads inherit the
context in which they are begun. `Turns` bound one thing, such as pictures that are made at once:

* up to `size` have a turn, one asker up to `most_each`;
* the others wait in a line for each asker, and the lines are served in rotation: who asks for a
  thousand pictures waits for each, and who asks for one waits for one of every other asker;
* no more than `most_waiting` wait, and half of that for one asker, for `seconds` at most. Whoever
  comes beyond is told so at once, instead of late.

Where `most_waiting` is bounded, that is asked of a request only once: when it has had a turn its
answer may have begun, and it then waits for each further one as long as it takes.
"""

import asyncio
import ipaddress
from collections import OrderedDict, deque
from contextvars import ContextVar, Token
from enum import StrEnum
from functools import lru_cache
from types import TracebackType
from typing import TypeAlias

from app.errors import Busy

Key: TypeAlias = str


class Work(StrEnum):
    """What a connection or a thread is needed for; each kind has its own."""

    READ = "read"
    STORE = "store"
    JOB = "job"


class Asker:
    """Who asks, as long as one request lasts. `key` is '' for the archive itself."""

    __slots__ = ("_held", "begun", "key", "work")

    def __init__(self, key: Key = "", work: Work = Work.READ) -> None:
        self.key = key
        self.work = work
        self.begun: tuple[Turns, ...] = ()
        """Of what this request has had a turn."""
        self._held: list[tuple[Turns, Key]] = []

    async def hold(self, turns: "Turns") -> None:
        """Wait for a turn, and have it until the request ends. The archive itself needs none.

        Raises:
            Busy: too many wait, or none came in time.
        """
        if self.key and all(turns is not held for held, _ in self._held):
            self._held.append((turns, await turns.take()))

    def turn_to(self, work: Work) -> None:
        """Say what the rest of this request is. What the archive itself does stays as it is."""
        if self is not NOBODY:
            self.work = work

    def end(self) -> None:
        """Give back all turns."""
        for turns, key in self._held:
            turns.give_back(key)
        self._held.clear()


NOBODY = Asker()
"""Who asks where no request does: a command, or what serves all requests."""
_asker: ContextVar[Asker] = ContextVar("asker", default=NOBODY)
asker = _asker.get
"""Return who asks."""


def asks(one: Asker) -> Token[Asker]:
    """Say who asks from here on in this task and in those that it begins."""
    return _asker.set(one)


def asked(token: Token[Asker]) -> None:
    """Say that who asks is again who did before."""
    _asker.reset(token)


@lru_cache(maxsize=4096)
def site_of(address: str) -> str:
    """Return an address, of IPv6 the network of one site: whoever has one has all of it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


class Turns:
    """Up to `size` turns at once. `name` says of what, in metrics and in words to callers."""

    def __init__(
        self,
        name: str,
        size: int,
        seconds: float,
        *,
        most_waiting: int | None = None,
        most_each: int | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.used = 0
        self.waiting = 0
        self.refused = 0
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._most_each = most_each or size
        self._held: dict[Key, int] = {}
        self._lines: OrderedDict[Key, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self) -> Key:
        """Wait for a turn; return what `give_back` gets.

        Raises:
            Busy: too many wait, or none came in time.
        """
        one = _asker.get()
        key = one.key
        if self.used < self.size and self._held.get(key, 0) < self._most_each:
            self._begin(key)
        else:
            await self._wait(one, key)
        if self._most_waiting is not None and key and self not in one.begun:
            one.begun += (self,)
        return key

    def give_back(self, key: Key) -> None:
        """End a turn; who waits for it has it."""
        self.used -= 1
        if self._held[key] > 1:
            self._held[key] -= 1
        else:
            del self._held[key]
        if self._lines and (found := self._next()) is not None:
            next_key, place = found
            self._begin(next_key)
            self._leave(next_key, place)
            place.set_result(None)

    def turn(self) -> "_Turn":
        """Have a turn for a block."""
        return _Turn(self)

    def _begin(self, key: Key) -> None:
        self.used += 1
        self._held[key] = self._held.get(key, 0) + 1

    def _next(self) -> "tuple[Key, asyncio.Future[None]] | None":
        """Return whose turn it is: the first in the first line that may have one more."""
        for key, line in self._lines.items():
            if self._held.get(key, 0) < self._most_each:
                for place in line:
                    if not place.done():  # else whoever waited has gone, and takes it away
                        return key, place
        return None

    def _leave(self, key: Key, place: "asyncio.Future[None]") -> None:
        """Take a place out of its line; the line goes behind the others, or away if it is empty."""
        line = self._lines[key]
        line.remove(place)
        self.waiting -= 1
        self._lines.move_to_end(key)
        if not line:
            del self._lines[key]

    async def _wait(self, one: Asker, key: Key) -> None:
        bounded = self._most_waiting is not None and bool(key) and self not in one.begun
        if bounded and self._is_full(key):
            raise self._busy()
        place = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, deque()).append(place)
        self.waiting += 1
        limit = self._seconds if bounded or self._most_waiting is None else None
        try:
            async with asyncio.timeout(limit):
                await place
        except BaseException as error:
            self._give_up(key, place)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _is_full(self, key: Key) -> bool:
        most = self._most_waiting or 0
        return self.waiting >= most or len(self._lines.get(key, ())) >= max(1, most // 2)

    def _give_up(self, key: Key, place: "asyncio.Future[None]") -> None:
        if place.done() and not place.cancelled():
            self.give_back(key)  # its turn came as it went
        else:
            self._leave(key, place)

    def _busy(self) -> Busy:
        self.refused += 1
        return Busy(f"The archive has as many {self.name} as it can do at once; ask again later")


class _Turn:
    """A block that is a turn."""

    __slots__ = ("_key", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def __aenter__(self) -> None:
        self._key = await self._turns.take()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._turns.give_back(self._key)


class Shares:
    """Turns of one thing for each kind of work, so that no kind keeps another waiting."""

    def __init__(self, name: str, size: int, seconds: float) -> None:
        few = max(4, size // 2)  # a job may need a second one beside the first
        sizes = {Work.READ: size, Work.STORE: few, Work.JOB: few}
        self.of = {work: Turns(name, sizes[work], seconds) for work in Work}
        self.name = name

    @property
    def size(self) -> int:
        """All turns of all kinds."""
        return sum(turns.size for turns in self.of.values())

    def mine(self) -> Turns:
        """Return the turns of the kind of work that goes on here."""
        return self.of[_asker.get().work]
