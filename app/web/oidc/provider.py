"""What a provider of OpenID Connect says of itself: its endpoints and its keys, fetched and kept.

They are fetched anew every ten minutes; so a key that the provider gives up is not taken for much
longer. A token that names a key which is not known has them fetched at once, but no more often than
every half minute. While the provider does not answer, what it said last is kept for a day.
"""

import asyncio
import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.errors import Unavailable
from app.web.oidc.fetching import Refused, asking, fetch_document, is_safe

FRESH_SECONDS = 600.0
KEPT_SECONDS = 86_400.0
UNKNOWN_SECONDS = 30.0
"""Between two fetches for the sake of a key that is not known."""
AGAIN_SECONDS = 5.0
"""Between two fetches otherwise."""
MOST_KEYS = 100
SHORTEST_RSA = 2048

_KINDS: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key of the provider. `algorithm` and `curve` are "" where it names none."""

    kid: str
    kind: str
    algorithm: str
    curve: str
    key: RSAKey | ECKey | OKPKey

    def signs(self, algorithm: str) -> bool:
        """Say whether tokens that are signed by an algorithm may be of this key."""
        if self.kind != _FAMILIES.get(algorithm[:2]):
            return False
        if _CURVES.get(algorithm, "") != self.curve:
            return False
        return self.algorithm in ("", algorithm) or (algorithm, self.algorithm) == (
            "EdDSA",
            "Ed25519",
        )


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where a browser logs in and out, where codes are redeemed, and how (OpenID Discovery §3)."""

    authorization: str
    token: str
    end_session: str
    takes_basic: bool
    """Whether a client may show its secret by HTTP Basic."""
    names_itself: bool
    """Whether answers to the browser name the issuer (RFC 9207)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a provider said, and when, by the clock that only goes forward."""

    metadata: Metadata
    keys: Sequence[SigningKey]
    at: float


class Provider:
    """A provider, known by its issuer, which is its address and its name."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._known: Known | None = None
        self._tried = -UNKNOWN_SECONDS
        self._tried_for_unknown = -UNKNOWN_SECONDS
        self._lock = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """Return what it says of itself.

        Raises:
            Unavailable: it does not answer, and has not for long.
        """
        return (await self._current()).metadata

    async def find_keys(self, kid: str | None, algorithm: str) -> Sequence[SigningKey]:
        """Return its keys that a token may be signed by which names `kid`, or names none.

        Raises:
            Unavailable: it does not answer, and has not for long.
        """
        found = _fitting(await self._current(), kid, algorithm)
        if found or kid is None:
            return found
        async with self._lock:
            if monotonic() - self._tried_for_unknown >= UNKNOWN_SECONDS:
                self._tried_for_unknown = monotonic()
                await self._fetch()
        return _fitting(await self._current(), kid, algorithm)

    async def _current(self) -> Known:
        """Return what is known, fetched now if it is old and nobody else does so."""
        known = self._known
        if known is not None and monotonic() - known.at < FRESH_SECONDS:
            return known
        if known is None or not self._lock.locked():
            async with self._lock:
                is_old = self._known is None or monotonic() - self._known.at >= FRESH_SECONDS
                if is_old and monotonic() - self._tried >= AGAIN_SECONDS:
                    await self._fetch()
        known = self._known
        if known is None or monotonic() - known.at >= KEPT_SECONDS:
            raise Unavailable("the identity provider does not answer; try again later")
        return known

    async def _fetch(self) -> None:
        self._tried = monotonic()
        try:
            self._known = await fetch_provider(self.issuer)
        except Unavailable as error:
            kept = "" if self._known is None else "; what it said last is kept"
            _log.warning("%s: %s%s", self.issuer, error, kept)


def _fitting(known: Known, kid: str | None, algorithm: str) -> list[SigningKey]:
    fitting = [key for key in known.keys if key.signs(algorithm)]
    if kid is not None:
        return [key for key in fitting if key.kid == kid]
    return fitting if len(fitting) == 1 else []  # none is guessed


def discovery(issuer: str) -> str:
    """Return where a provider says what it is (OpenID Discovery §4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


async def fetch_provider(issuer: str) -> Known:
    """Ask a provider what it is and what its keys are.

    Raises:
        Unavailable: it does not answer, or is another one.
    """
    try:
        async with asking() as client:
            document = await fetch_document(client, "GET", discovery(issuer))
            if document.get("issuer") != issuer:
                raise Unavailable("what is found at the issuer's address is of another issuer")
            keys = await fetch_document(client, "GET", str(document.get("jwks_uri", "")))
    except Refused as error:
        raise Unavailable(f"the identity provider refuses: {error.word}") from None
    return Known(_read_metadata(document), read_keys(keys), monotonic())


def _read_metadata(document: dict[str, Any]) -> Metadata:
    ways = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])

    def address(name: str) -> str:
        url = document.get(name)
        return str(url) if is_safe(url) else ""

    return Metadata(
        authorization=address("authorization_endpoint"),
        token=address("token_endpoint"),
        end_session=address("end_session_endpoint"),
        takes_basic=isinstance(ways, list) and "client_secret_basic" in ways,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def read_keys(document: dict[str, Any]) -> Sequence[SigningKey]:
    """Return the public keys of a JWK Set that signatures can be checked by; others are left out.

    Source: RFC 7517 §4, §5
    """
    keys = document.get("keys")
    if not isinstance(keys, list):
        return ()
    read = (_read_key(entry) for entry in keys[:MOST_KEYS] if isinstance(entry, dict))
    return [key for key in read if key is not None]


def _read_key(entry: dict[str, Any]) -> SigningKey | None:
    kind = _KINDS.get(str(entry.get("kty")))
    operations = entry.get("key_ops", ["verify"])
    if kind is None or entry.get("use", "sig") != "sig" or "verify" not in operations:
        return None
    public = {name: value for name, value in entry.items() if name in _PUBLIC}
    try:
        if kind is RSAKey and _bits(public["n"]) < SHORTEST_RSA:
            return None
        key = kind.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    kid, algorithm, curve = (str(entry.get(name, "")) for name in ("kid", "alg", "crv"))
    return SigningKey(kid, entry["kty"], algorithm, curve, key)


def _bits(number: str) -> int:
    padded = number + "=" * (-len(number) % 4)
    return int.from_bytes(base64.urlsafe_b64decode(padded)).bit_length()


_PUBLIC = frozenset({"kty", "n", "e", "crv", "x", "y"})
"""Members of a key that say which one it is; a private part is never taken over."""
