"""Who asks by name and password.

A password that was right is remembered for `REMEMBERED_SECONDS`, by an HMAC under a key of the
process; each second it is seen whether the user still is who had it. Wrong ones are counted in the
index, for all processes: `MOST_OF_PAIR` within a minute for a name from an address, and
`MOST_OF_ADDRESS` for all names from it. Then that pair, or that address, has to wait. A name alone
is never made to wait: strangers could lock it out.

Whether a name is known shows in nothing: a hash is checked, a failure counted, the same answered.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from functools import partial

from app.archive.known_keys import granted
from app.archive.passwords import LONGEST, Passwords, as_compared
from app.archive.remembered import Remembered
from app.errors import TooMany, Unauthenticated, Unavailable
from app.index.engine import Index
from app.index.local_users import (
    Failures,
    LocalUser,
    add_failure,
    count_failures,
    find_user,
    forget_failures,
)
from app.rights import Principal
from app.turns import site_of

REMEMBERED_SECONDS = 60.0
MOST_OF_PAIR = 5
MOST_OF_ADDRESS = 20
_WRONG = "The name or the password is another one, or the user is disabled"
MOST_WAITING = 32
"""Passwords that wait to be hashed; with more, nobody would get a turn in time."""


class KnownUsers:
    """The users who have shown one process their password."""

    def __init__(self, index: Index) -> None:
        self.passwords = Passwords()
        self._index = index
        self._secret = secrets.token_bytes(32)
        self._users: Remembered[LocalUser | None] = Remembered()
        self._failures: Remembered[Mapping[bytes, Failures]] = Remembered()
        self._waiting = 0
        self._right: Remembered[str] = Remembered(REMEMBERED_SECONDS)

    async def principal(self, name: str, password: str, address: str) -> Principal:
        """Return the user of a name and a password, who asks from an address.

        Raises:
            Unauthenticated: there is none, or the password is another one, or it is disabled.
            TooMany: too many wrong passwords came.
            Unavailable: the index does not answer, or too many passwords wait to be checked.
        """
        who = _who(name, address)
        self._refuse(who, await self._failures.get(who, partial(count_failures, self._index, who)))
        find = partial(find_user, self._index, name)
        user = await self._users.get(name, find)
        shown = self._digest(name, password)
        look = partial(self._check, user, password, who)
        right = await self._right.get(shown, look)
        if right != _password_of(user):
            self._right.forget(shown)  # it was right once
            right = await self._right.get(shown, look)
        user = await self._users.get(name, find)  # while a check waited, rights may have changed
        if user is None or right != _password_of(user):
            raise Unauthenticated(_WRONG)
        return granted(user.name, "user", user.tenant_id, user.roles, user.labels)

    async def _check(self, user: LocalUser | None, password: str, who: tuple[bytes, bytes]) -> str:
        """Return the hash that a password is right for; count it if it is wrong."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable("Many passwords are being checked at the moment; ask again")
        self._waiting += 1
        try:
            return await self._check_in_turn(user, password, who)
        finally:
            self._waiting -= 1

    async def _check_in_turn(
        self, user: LocalUser | None, password: str, who: tuple[bytes, bytes]
    ) -> str:
        async with self.passwords.turn:
            self._refuse(who, await count_failures(self._index, who))
            known = user.password if user else self.passwords.nobodys
            right = len(password) <= LONGEST and await self.passwords.check(known, password)
            if right and known == _password_of(user):
                await forget_failures(self._index, who[:1])
                return known
            await add_failure(self._index, who)
            self._failures.forget(who)
        error = Unauthenticated(_WRONG)
        error.user = None if user is None else (user.tenant_id, user.name)
        raise error

    def _refuse(self, who: tuple[bytes, bytes], failures: Mapping[bytes, Failures]) -> None:
        for one, most in zip(who, (MOST_OF_PAIR, MOST_OF_ADDRESS), strict=True):
            if one in failures and failures[one].count >= most:
                raise TooMany("Too many wrong passwords came; wait a minute", failures[one].seconds)

    def _digest(self, name: str, password: str) -> bytes:
        shown = f"{name}\0{as_compared(password)}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, shown, "sha256")


def _password_of(user: LocalUser | None) -> str | None:
    """Return the hash of a user who is let in."""
    return None if user is None or user.disabled else user.password


def _who(name: str, address: str) -> tuple[bytes, bytes]:
    """Return by what failures are counted: a name from an address, and the address."""
    near = site_of(address)
    pair = hashlib.sha256(f"{name}\0{near}".encode("utf-8", "surrogatepass")).digest()
    return pair, hashlib.sha256(near.encode()).digest()
