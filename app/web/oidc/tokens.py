"""Signed tokens (JWT): read strictly, and believed only as their provider's.

Of the header only `alg`, `kid` and `typ` are looked at: a key that a token brings or points to
(`jwk`, `jku`, `x5c`, `x5u`) is never used, and an algorithm with a shared secret, or none, is not
known at all.

Source: RFC 7515, RFC 7519, RFC 8725, RFC 9068
"""

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry

from app.errors import Unauthenticated
from app.web.oidc.provider import Provider

MOST_BYTES = 16_384
"""Of one token: what a header field holds."""
_TYPES = frozenset({"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token has to be: of which issuer, for whom, signed how; clocks may differ by `skew`
    seconds."""

    issuer: str
    audience: frozenset[str]
    algorithms: Sequence[str]
    skew: float = 60.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was verified."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class _Registry(JWSRegistry):
    """Takes as much as a header field holds, and the listed algorithms alone."""

    max_header_length = max_payload_length = max_signature_length = MOST_BYTES

    def get_alg(self, name: str) -> Any:
        """Return an algorithm, if it is listed."""
        if not self.allowed or name not in self.allowed:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


async def verified(provider: Provider, value: str, rules: Rules) -> Token:
    """Return what a token says, which is its issuer's, for us, and in force.

    Raises:
        Unauthenticated: it is not all of that.
        Unavailable: the provider does not answer, and has not for long.
    """
    header = _read_header(value)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        raise Unauthenticated("The token is not signed by an algorithm that is taken here")
    if str(header.get("typ", "")).lower() not in _TYPES or "crit" in header:
        raise Unauthenticated("The token is of a sort that is not taken here")
    if kid is not None and not isinstance(kid, str):
        raise Unauthenticated("The token is malformed")
    registry = _Registry(algorithms=list(rules.algorithms), strict_check_header=False)
    for key in await provider.find_keys(kid, algorithm):
        try:
            jws.deserialize_compact(value, key.key, registry=registry)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        claims = _read_json(value.split(".")[1])
        check_claims(claims, rules, time.time())
        return Token(header, claims)
    raise Unauthenticated("The token is not signed by a key of the identity provider")


def check_claims(claims: Mapping[str, Any], rules: Rules, now: float) -> None:
    """See that a token is of the issuer, for us, and in force at a time in seconds since 1970.

    Raises:
        Unauthenticated: it is not.

    Source: RFC 7519 §4.1
    """
    if claims.get("iss") != rules.issuer:
        raise Unauthenticated("The token is of another issuer")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(one, str) and one in rules.audience for one in named):
        raise Unauthenticated("The token is for another audience")
    expires, since = _time(claims, "exp"), _time(claims, "nbf")
    issued = _time(claims, "iat")
    if expires is None:
        raise Unauthenticated("The token does not say when it expires")
    if now >= expires + rules.skew:
        raise Unauthenticated("The token has expired")
    if (since is not None and now < since - rules.skew) or (
        issued is not None and now < issued - rules.skew
    ):
        raise Unauthenticated("The token is not yet in force")


def refuse_id_token(token: Token) -> None:
    """See that a token is none that only tells a client who has logged in.

    Providers that name the sort of their tokens are believed; else an ID token is known by what
    only it has.

    Raises:
        Unauthenticated: it is one, or one to get others by.

    Source: RFC 9068 §2.1, OpenID Connect Core §2
    """
    if str(token.header.get("typ", "")).lower().endswith("at+jwt"):
        return
    sort = str(token.claims.get("typ", "")).lower()  # as Keycloak says it
    if sort == "bearer":
        return
    if sort or any(name in token.claims for name in _OF_ID_TOKENS):
        raise Unauthenticated("This is no access token; send the access token of the provider")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise Unauthenticated(f"The token has no time in {name}")
    return float(value)


def _read_header(value: str) -> Mapping[str, Any]:
    if len(value) > MOST_BYTES or not value.isascii():
        raise Unauthenticated("The token is too long")
    parts = value.split(".")
    if len(parts) != 3:
        raise Unauthenticated("The token is not a signed one")
    return _read_json(parts[0])


def _read_json(part: str) -> Mapping[str, Any]:
    """Return the JSON object in a part of a token; a name that stands twice has no meaning."""
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)
        found = json.loads(raw, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except (binascii.Error, ValueError, RecursionError):
        raise Unauthenticated("The token is malformed") from None
    if not isinstance(found, dict):
        raise Unauthenticated("The token is malformed")
    return found


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(name)
