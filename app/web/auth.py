"""Who asks: a bearer key, or, where no identity source is set, the operator on this machine.

Without an identity source a request counts as the operator's only if it cannot have come from
elsewhere (DESIGN §8): the peer and `Host` are loopback, nothing says that a proxy passed it on,
and `Origin`, if any, is loopback or listed. A name that was rebound to 127.0.0.1, a page of a
stranger in the operator's browser, and a proxy in front all fail one of these.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from app.dicom.ae_titles import check_ae_title
from app.errors import Forbidden, Unauthenticated
from app.rights import Principal

_HOST = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([^:\[\]/@]+)(?::\d+)?")
_PASSED_ON = (b"forwarded", b"via", b"x-real-ip")
CALLING_AE = "calling-ae-title"
"""The header field by which a bridge says which AE it acts for."""
CALLING_AE_CONTRACT: dict[str, Any] = {
    "parameters": [
        {
            "name": "Calling-AE-Title",
            "in": "header",
            "schema": {"type": "string", "maxLength": 16},
            "description": "The AE that a bridge acts for",
        }
    ]
}
OPERATOR = Principal("operator")
KEY_HOLDER = Principal("key")


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Say whether a host (a peer, or a Host header with or without a port) is this machine."""
    match = _HOST.fullmatch(host.strip())
    name = (match[1] or match[2]) if match else host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def acting_for(principal: Principal, headers: Mapping[str, str]) -> Principal:
    """Return a caller with the AE that it acts for, if it names one.

    Raises:
        InvalidRequest: what it names is no AE Title.
    """
    title = headers.get(CALLING_AE, "")
    return replace(principal, ae_title=check_ae_title(title)) if title else principal


@dataclass(frozen=True, slots=True)
class Identity:
    """How callers are known: `key_digest` is the SHA-256 of the one bearer key, None for none.

    `origins` are web origins that may act for the operator, such as a viewer's.
    """

    key_digest: bytes | None = None
    origins: frozenset[str] = frozenset()

    def principal(self, scope: dict[str, Any]) -> Principal:
        """Return who makes this request (an ASGI scope).

        Raises:
            Unauthenticated: a key is asked for, and none or a wrong one came.
            Forbidden: there is no identity source, and the request may come from elsewhere.
        """
        headers = scope["headers"]
        if self.key_digest is not None:
            return self._by_key(headers)
        client = scope.get("client")
        if client is None or not is_loopback(client[0]):
            raise Forbidden("Without an identity source only this machine is served")
        self._check_local(headers)
        return OPERATOR

    def _by_key(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        for name, value in headers:
            scheme, _, key = value.partition(b" ")
            if name == b"authorization" and scheme.lower() == b"bearer":
                given = hashlib.sha256(key.strip()).digest()
                if self.key_digest is not None and hmac.compare_digest(given, self.key_digest):
                    return KEY_HOLDER
        raise Unauthenticated("Send the key: Authorization: Bearer <key>")

    def _check_local(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        hosts = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
                if not is_loopback(value.decode("latin-1")):
                    raise Forbidden(
                        "This archive has no identity source, so it answers only to names of this "
                        "machine such as 127.0.0.1; set FILEROOM_AUTH__KEY_FILE to open it"
                    )
            elif name in _PASSED_ON or name.startswith(b"x-forwarded-"):
                raise Forbidden(
                    "This archive has no identity source, so it serves no request that a proxy "
                    "passed on; set FILEROOM_AUTH__KEY_FILE to open it"
                )
            elif name == b"origin" and not self._origin_allowed(value.decode("latin-1")):
                raise Forbidden("This web origin is not listed in FILEROOM_HTTP__CORS_ORIGINS")
        if hosts != 1:
            raise Forbidden("A request needs one Host header")

    def _origin_allowed(self, origin: str) -> bool:
        if origin in self.origins:
            return True
        try:
            return is_loopback(urlsplit(origin).hostname or "")
        except ValueError:
            return False
