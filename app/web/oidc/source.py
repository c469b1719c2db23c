"""Bearer tokens as a source of identity: access tokens of the provider, verified here."""

import hashlib
import time
from typing import Any

from app.rights import Principal
from app.web.auth import Credentials
from app.web.oidc.claims import Reading
from app.web.oidc.provider import Provider
from app.web.oidc.tokens import Rules, refuse_id_token, verified
from app.web.remembered import Remembered

REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 4096
_OURS = ("frk_", "frt_")
"""How our own keys and tickets begin."""


class Tokens:
    """Callers with an access token. One that was verified is remembered, by its digest, for up to
    a minute, and never beyond its end."""

    def __init__(self, provider: Provider, rules: Rules, reading: Reading) -> None:
        self._provider = provider
        self._rules = rules
        self._reading = reading
        self._known: Remembered[bytes, Principal] = Remembered(MOST_REMEMBERED)

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
        known = self._known.get(digest)
        if known is not None:
            return known
        token = await verified(self._provider, value, self._rules)
        refuse_id_token(token)
        principal = self._reading.principal(token.claims, "token")
        left = float(token.claims["exp"]) + self._rules.skew - time.time()
        self._known.put(digest, principal, min(REMEMBERED_SECONDS, left))
        return principal
