"""Who may call the bridge, and what each may do: the table of peers, and its limits."""

import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any

from app.entries import read_entries

SERVICES = ("store", "find", "retrieve", "commit", "worklist", "mpps")
_WORDS = ("ae_title", "address", "key_file")
_LONGEST_TITLE = 16


@dataclass(frozen=True, slots=True)
class Peer:
    """An AE that is known.

    `address` is the only one that it may call from, and where it listens if it has a `port`; a name
    of a host is looked up when it calls, and when it is called.
    `key_file` holds the key that stands for it at the archive; without it the bridge's own is used.
    """

    ae_title: str
    address: str | None = None
    port: int | None = None
    services: frozenset[str] = frozenset(SERVICES)
    key_file: str | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an association is refused: result, source and reason of PS3.8 Table 9-21."""

    why: str
    code: tuple[int, int, int]


CALLING_UNKNOWN = (1, 1, 3)
CALLED_UNKNOWN = (1, 1, 7)
NO_REASON = (1, 1, 1)
TOO_MANY = (2, 3, 2)


@dataclass(frozen=True, slots=True)
class Table:
    """All peers; whoever is not in it may do everything where the bridge is `open` to all."""

    ae_title: str
    peers: Mapping[str, Peer]
    open: bool = False

    def admitted(self, calling: str, called: str, address: str) -> Peer | Refusal:
        """Return who calls from an address, or why it is refused."""
        if called != self.ae_title:
            return Refusal("the called AE title is not ours", CALLED_UNKNOWN)
        peer = self.peers.get(calling)
        if peer is None and self.open and is_ae_title(calling):
            return Peer(calling)
        if peer is None:
            return Refusal("the calling AE title is not known", CALLING_UNKNOWN)
        if peer.address is not None and _plain(address) not in _addresses(peer.address):
            return Refusal("the calling AE title belongs to another address", CALLING_UNKNOWN)
        return peer


def _addresses(named: str) -> frozenset[str]:
    """Return the addresses of a host by its name or its address, none if nobody knows it now."""
    try:
        return frozenset({_plain(named)})
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(named, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(_plain(str(place[0])) for *_, place in found)


def _plain(address: str) -> str:
    """Return an address in its one form; one of IPv4 in IPv6's is IPv4's.

    Raises:
        ValueError: it is none.
    """
    found = ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


@dataclass(slots=True)
class Places:
    """How many associations there may be, in all and of one peer."""

    in_all: int
    of_one: int
    _taken: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, ae_title: str) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self._taken.total() >= self.in_all or self._taken[ae_title] >= self.of_one:
                return False
            self._taken[ae_title] += 1
            return True

    def taken(self) -> int:
        """Return how many there are."""
        with self._lock:
            return self._taken.total()

    def give_back(self, ae_title: str) -> None:
        """Give a place back that was taken."""
        with self._lock:
            self._taken[ae_title] -= 1
            if not self._taken[ae_title]:
                del self._taken[ae_title]


def read_peers(value: Any) -> Any:
    """Return the peers that a JSON list in a variable names.

    Raises:
        ValueError: it cannot be understood; the message says what should stand there.
    """
    if not isinstance(value, str):
        return value
    entries = read_entries(value, '[{"ae_title": "CT1", "address": "10.0.0.5"}]')
    peers = tuple(_peer(entry) for entry in entries)
    if len({peer.ae_title for peer in peers}) < len(peers):
        raise ValueError("each peer needs an AE title of its own")
    return peers


def check_ae_title(title: str) -> str:
    """Return an AE title, if it is one (PS3.5 Table 6.2-1).

    Raises:
        ValueError: it is none.
    """
    if not is_ae_title(title):
        raise ValueError("an AE title has 1 to 16 plain characters, and no backslash")
    return title


def is_ae_title(title: str) -> bool:
    """Say whether a peer may be called so."""
    good = title.isascii() and title.isprintable() and "\\" not in title and title == title.strip()
    return good and 0 < len(title) <= _LONGEST_TITLE


def _peer(entry: Mapping[str, Any]) -> Peer:
    unknown = set(entry) - {*_WORDS, "port", "services", "tls"}
    if unknown or not all(isinstance(entry.get(word, ""), str) for word in _WORDS):
        words = ", ".join(sorted(unknown)) or "something that is no text"
        raise ValueError(
            f"a peer has ae_title, address, port, services, key_file and tls; not {words}"
        )
    port, tls = entry.get("port"), entry.get("tls", False)
    if port is not None and not (type(port) is int and 0 < port < 2**16):
        raise ValueError("the port of a peer is a number from 1 to 65535")
    if port is not None and "address" not in entry:
        raise ValueError("a peer with a port needs an address")
    if not isinstance(tls, bool):
        raise ValueError("tls of a peer is true or false")
    title = check_ae_title(entry.get("ae_title", ""))
    services = frozenset(_services(entry.get("services", SERVICES)))
    return Peer(title, entry.get("address"), port, services, entry.get("key_file"), tls)


def _services(value: Any) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(one in SERVICES for one in value):
        raise ValueError(f"the services of a peer are a list of {', '.join(SERVICES)}")
    return value
