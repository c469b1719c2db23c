"""Bearer tokens as a source of identity: access tokens of the provider, verified here."""

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.archive.remembered import Remembered
from app.errors import Unauthenticated
from app.rights import Principal
from app.web.auth import Credentials
from app.web.oidc.claims import Reading
from app.web.oidc.provider import Provider
from app.web.oidc.tokens import Rules, refuse_id_token, verified

REMEMBERED_SECONDS = 60.0
_OURS = ("frk_", "frt_")
"""How our own keys and tickets begin."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose a token is, until when, in seconds since 1970."""

    principal: Principal
    until: float


class Tokens:
    """Callers with an access token. One that was verified is remembered, by its digest, for up to
    a minute, and never beyond its end."""

    def __init__(self, provider: Provider, rules: Rules, reading: Reading) -> None:
        self._provider = provider
        self._rules = rules
        self._reading = reading
        self._known: Remembered[_Known] = Remembered(REMEMBERED_SECONDS)

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return whose token it is.

        Raises:
            Unauthenticated: it is forged, expired, not for us, or no access token.
            Forbidden: the provider gives its bearer no right here.
            Unavailable: the provider does not answer, and has not for long.
        """
        value = given.value
        if given.scheme != "bearer" or value.count(".") < 2 or value.startswith(_OURS):
            return None
        digest = hashlib.sha256(value.encode("latin-1")).digest()
        known = await self._known.get(digest, partial(self._verify, value))
        if time.time() >= known.until:
            raise Unauthenticated("The token has expired")
        return known.principal

    async def _verify(self, value: str) -> _Known:
        token = await verified(self._provider, value, self._rules)
        refuse_id_token(token)
        principal = self._reading.principal(token.claims, "token")
        return _Known(principal, float(token.claims["exp"]) + self._rules.skew)
