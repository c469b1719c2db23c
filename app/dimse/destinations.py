"""Where an AE listens: as the settings say, or else the archive's registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from app.dimse.archive import Archive
from app.dimse.peers import Peer

DESTINATIONS = "/api/v1/destinations"


@dataclass(frozen=True, slots=True)
class Destinations:
    """Finds AEs that Instances can be sent to; those of the settings go before the archive's."""

    archive: Archive
    peers: Mapping[str, Peer]

    def find(self, title: str) -> Peer | None:
        """Return where an AE listens, None if nobody knows it.

        Raises:
            NoAnswer: the archive did not answer in time.
        """
        known = self.peers.get(title)
        if known is not None and known.port is not None:
            return known
        if not title:
            return None
        response = self.archive.send(None, "GET", f"{DESTINATIONS}/{quote(title, safe='')}")
        return self.of(orjson.loads(response.content)) if response.status_code == 200 else None

    def of(self, described: Mapping[str, Any]) -> Peer:
        """Return the AE that the archive describes, as the settings have it if they know it."""
        title = str(described["ae_title"])
        known = self.peers.get(title)
        if known is not None and known.port is not None:
            return known
        address, port = str(described["host"]), int(described["port"])
        return Peer(title, address, port, tls=bool(described["tls"]))
