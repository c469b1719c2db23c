"""Who is let in, how often, and what a request holds while it lasts.

Each request has an `Asker`, whose work is shared out fairly (`app.turns`). Where callers have to
show who they are, each of them and each address may ask so often a second, and so much more after a
rest. These counts are of one process: they protect it, and cost it a look into a dict. Wrong
passwords are counted elsewhere, in the index for all processes (`archive.known_users`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.errors import TooMany
from app.rights import Principal
from app.turns import NOBODY, Asker, asked, asker, asks, site_of
from app.web.auth import KEY_HOLDER, OPERATOR
from app.web.faults import ASGIApp, Receive, Scope, Send

_MOST_KNOWN = 16_384


class Rate:
    """So many requests a second of each of whom `name` is, and those of `burst` seconds at once.

    Kept for each is one moment: that at which all its requests would have been due (the "generic
    cell rate algorithm", a token bucket without a clock).
    """

    def __init__(
        self,
        name: str,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.refused = 0
        self._step = 1 / rate
        self._burst = max(burst, self._step)
        self._clock = clock
        self._due: dict[str, float] = {}

    def take(self, who: str) -> None:
        """Count a request.

        Raises:
            TooMany: it comes too soon.
        """
        now = self._clock()
        due = max(self._due.get(who, now), now) + self._step
        early = due - now - self._burst
        if early > 1e-9:  # what adding such numbers up loses
            self.refused += 1
            raise TooMany(f"Too many requests came from this {self.name}", math.ceil(early))
        if len(self._due) >= _MOST_KNOWN and who not in self._due:
            self._forget(now)
        self._due[who] = due

    def _forget(self, now: float) -> None:
        """Forget those who rest; all of them, if too many do not."""
        self._due = {who: due for who, due in self._due.items() if due > now}
        if len(self._due) >= _MOST_KNOWN:
            self._due.clear()


@dataclass(frozen=True, slots=True)
class Rates:
    """How often one caller, and one address, may ask."""

    principals: Rate
    addresses: Rate


class Callers:
    """Sees requests come, and who makes them; `rates` is None where only this machine is served."""

    def __init__(self, rates: Rates | None = None) -> None:
        self.rates = rates

    def came(self, scope: Scope) -> None:
        """Count a request of its address.

        Raises:
            TooMany: too many came from there.
        """
        if self.rates is not None and (client := scope.get("client")):
            self.rates.addresses.take(site_of(client[0]))

    def known(self, principal: Principal, scope: Scope) -> None:
        """Tell the request's `Asker` who asks, and count the request of the caller.

        Raises:
            TooMany: the caller makes too many.
        """
        one = asker()
        if one is NOBODY or one.key:
            return
        one.key = _key_of(principal, scope)
        if self.rates is not None:
            self.rates.principals.take(one.key)


class Counted:
    """Says who asks, as the identity does, and counts it for `callers`."""

    def __init__(self, identity: Any, callers: Callers) -> None:
        self.identity = identity
        self._callers = callers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.identity, name)

    async def principal(self, scope: Scope) -> Principal:
        """Return who makes this request.

        Raises:
            Unauthenticated, Forbidden: as the identity does.
            TooMany: the caller makes too many requests.
        """
        principal: Principal = await self.identity.principal(scope)
        self._callers.known(principal, scope)
        return principal


class Admission:
    """Lets requests in, and takes back at its end what each had a turn of."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self.app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            TooMany: too many came from its address.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._callers.came(scope)
        one = Asker()
        token = asks(one)
        try:
            await self.app(scope, receive, send)
        finally:
            one.end()
            asked(token)


def _key_of(principal: Principal, scope: Scope) -> str:
    """Return by what turns and requests of a caller are counted.

    Whom many are at once, all that have the one key or this machine, is told apart by address.
    """
    if principal is OPERATOR or principal is KEY_HOLDER:
        client = scope.get("client")
        return f"{principal.kind} {site_of(client[0]) if client else ''}"
    return f"{principal.scope.tenant_id} {principal.kind} {principal.name}"
