"""A login in the browser at the provider: the code flow with PKCE, state and nonce.

What has to be known when the browser comes back is in a cookie of its own for ten minutes: nobody
but the browser that began a login can end it, and no process has to remember it.

Source: OpenID Connect Core §3.1, RFC 7636, RFC 9207, RFC 9700 §2.1
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from app.errors import Unauthenticated, Unavailable
from app.rights import Principal
from app.web.oidc.claims import Reading
from app.web.oidc.fetching import Refused, asking, fetch_document
from app.web.oidc.provider import Provider
from app.web.oidc.tokens import Rules, refuse_id_token, verified

ATTEMPT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Client:
    """What we are to the provider; without a secret a public client."""

    id: str
    secret: str | None = field(default=None, repr=False)
    scopes: Sequence[str] = ("openid",)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login under way: what the browser has to bring back, and the path where it wanted to go."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    then: str

    def write(self) -> str:
        """Return it as a cookie's value."""
        then = base64.urlsafe_b64encode(self.then.encode()).decode().rstrip("=")
        return ".".join((self.state, self.nonce, self.verifier, then))


def new_attempt(then: str) -> Attempt:
    """Return a login that begins now."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Attempt(state, nonce, verifier, then)


def read_attempt(cookie: str | None) -> Attempt | None:
    """Return the login that a cookie is of, None if it is of none."""
    parts = (cookie or "").split(".")
    if len(parts) != 4 or not all(parts):
        return None
    try:
        padded = parts[3] + "=" * (-len(parts[3]) % 4)
        then = base64.b64decode(padded, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return Attempt(parts[0], parts[1], parts[2], then)


class Login:
    """Logins at one provider. `access` is what access tokens have to be, for their roles."""

    def __init__(self, provider: Provider, access: Rules, reading: Reading, client: Client) -> None:
        self._provider = provider
        self._client = client
        self._reading = reading
        self._access = access
        self._id_token = replace(access, audience=frozenset({client.id}))

    async def address(self, attempt: Attempt, callback: str) -> str:
        """Return where the browser has to go; it comes back to `callback`.

        Raises:
            Unavailable: the provider does not answer, and has not for long, or has no such place.
        """
        place = (await self._provider.metadata()).authorization
        if not place:
            raise Unavailable("the identity provider names no place to log in at")
        challenge = hashlib.sha256(attempt.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": callback,
            "scope": " ".join(self._client.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    async def finish(
        self, attempt: Attempt, code: str, named: str | None, callback: str
    ) -> Principal:
        """Return who has logged in. `named` is the issuer as the browser brought it, if it did.

        Raises:
            Unauthenticated: nobody has, or not in this login.
            Forbidden: the provider gives no right here.
            Unavailable: the provider does not answer.
        """
        names_itself = (await self._provider.metadata()).names_itself
        if named != self._provider.issuer and (named is not None or names_itself):
            raise Unauthenticated("The answer is not of the identity provider that was asked")
        answer = await self._redeem(attempt, code, callback)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise Unauthenticated("The identity provider does not say who has logged in")
        token = await verified(self._provider, id_token, self._id_token)
        self._check_id_token(token.claims, attempt)
        claims = await self._with_roles(token.claims, answer.get("access_token"))
        return self._reading.principal(claims, "user")

    async def place_to_log_out(self) -> str:
        """Return where somebody logs out of the provider itself, "" if it names no such place."""
        try:
            return (await self._provider.metadata()).end_session
        except Unavailable:
            return ""

    def _check_id_token(self, claims: Mapping[str, Any], attempt: Attempt) -> None:
        nonce, party = claims.get("nonce"), claims.get("azp")
        if not isinstance(nonce, str) or not secrets.compare_digest(
            nonce.encode(), attempt.nonce.encode()
        ):
            raise Unauthenticated("The token is of another login")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if party != self._client.id and (party is not None or several):
            raise Unauthenticated("The token is for another client")

    async def _with_roles(self, claims: Mapping[str, Any], access: object) -> Mapping[str, Any]:
        """Return the claims, with those of the access token where only that names roles."""
        has_roles = any(self._reading.roles_of(claims))
        if has_roles or not isinstance(access, str) or not self._access.audience:
            return claims
        try:
            token = await verified(self._provider, access, self._access)
            refuse_id_token(token)
        except Unauthenticated:
            return claims
        return {**claims, **token.claims} if token.claims.get("sub") == claims["sub"] else claims

    async def _redeem(self, attempt: Attempt, code: str, callback: str) -> dict[str, Any]:
        metadata = await self._provider.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": attempt.verifier,
        }
        auth: httpx.Auth | None = None
        client = self._client
        if client.secret is not None and metadata.takes_basic:  # RFC 6749 §2.3.1
            auth = httpx.BasicAuth(quote(client.id, safe=""), quote(client.secret, safe=""))
        else:
            form["client_id"] = client.id
            if client.secret is not None:
                form["client_secret"] = client.secret
        try:
            async with asking() as http:
                return await fetch_document(http, "POST", metadata.token, form, auth)
        except Refused:
            raise Unauthenticated("The identity provider does not take the login back") from None
