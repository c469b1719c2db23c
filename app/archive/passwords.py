"""Passwords: kept as argon2id hashes (RFC 9106, the profile for little memory: 64 MiB).

A hash takes a tenth of a second of two cores on purpose, so few are made at once in a process.
"""

import asyncio
import unicodedata

from argon2 import Parameters, PasswordHasher, profiles
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import InvalidRequest

SHORTEST, LONGEST = 12, 1_024
AT_ONCE = 2
PROFILE = profiles.RFC_9106_LOW_MEMORY


class Passwords:
    """Makes and checks hashes in threads, `AT_ONCE` at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)
        """Whoever checks holds it."""
        self.nobodys = _nobodys(PROFILE)
        """A hash that takes as long as others, for names that nobody has."""
        self._hasher = PasswordHasher.from_parameters(PROFILE)

    async def make(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            InvalidRequest: it is too short, or very long.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise InvalidRequest(f"A password of {SHORTEST} to {LONGEST} characters was expected")
        async with self.turn:
            return await asyncio.to_thread(self._hasher.hash, as_compared(password))

    async def check(self, known: str, password: str) -> bool:
        """Say whether a password has this hash; hold `turn` meanwhile."""
        return await asyncio.to_thread(self._matches, known, as_compared(password))

    def _matches(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password)
        except (VerificationError, InvalidHashError):
            return False


def as_compared(password: str) -> str:
    """Return a password however its letters were composed (RFC 8265 §4.2.2)."""
    return unicodedata.normalize("NFC", password)


def _nobodys(cost: Parameters) -> str:
    at = f"m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}"
    digest = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8"
    return f"$argon2id$v={cost.version}${at}$bm9ib2R5IGtub3dzIGl0IQ${digest}"
