"""How many connections one worker has open, and from where."""

from collections.abc import Callable

from app.turns import site_of

LINGERING = 200
"""Connections that are told at once why they are not taken; others are just closed."""


class Door:
    """Counts connections: `most` in all, `most_each` from one address but a trusted proxy's."""

    def __init__(self, most: int, most_each: int, is_trusted: Callable[[str], bool]) -> None:
        self.open = 0
        self.told = 0
        self._most = most
        self._most_each = most_each
        self._is_trusted = is_trusted
        self._by_site: dict[str, int] = {}

    def enter(self, address: str) -> str | None:
        """Count a connection from an address; or say why it is not taken."""
        if self.open >= self._most:
            return "As many connections are open as this server takes; try again later"
        site = site_of(address)
        count = self._by_site.get(site, 0)
        if count >= self._most_each and not self._is_trusted(address):
            return "As many connections are open from this address as one may have"
        self._by_site[site] = count + 1
        self.open += 1
        return None

    def leave(self, address: str) -> None:
        """Count a connection no more that was taken."""
        self.open -= 1
        site = site_of(address)
        if self._by_site[site] > 1:
            self._by_site[site] -= 1
        else:
            del self._by_site[site]
