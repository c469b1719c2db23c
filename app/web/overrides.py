"""Who has opened a Study in an emergency sees it: in reading requests, and in no other ones."""

import re
from functools import partial
from typing import Any

from starlette.datastructures import State

from app.archive.overrides import may_override, widened
from app.archive.remembered import Remembered
from app.rights import Principal
from app.web.auth import PRINCIPAL
from app.web.tickets import READ, ROUTES


class Overriding:
    """Says who asks, as an identity does, with what that person has opened in an emergency.

    What is known of that is known for a second: who ends it answers after that. Callers who may not
    open anything, or see all, cost nothing.
    """

    def __init__(self, identity: Any, state: State, prefix: str) -> None:
        self.identity = identity
        self._state = state
        self._routes = re.compile(ROUTES.format(re.escape(prefix)), re.DOTALL)
        self._known: Remembered[Principal] = Remembered()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.identity, name)

    async def principal(self, scope: dict[str, Any]) -> Principal:
        """Return who makes this request.

        Raises:
            Unauthenticated, Forbidden: as the identity does.
            Unavailable: the index does not answer.
        """
        principal: Principal = await self.identity.principal(scope)
        if principal.scope.is_whole or not may_override(principal) or scope["method"] not in READ:
            return principal
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not self._routes.fullmatch(path):
            return principal
        look = partial(widened, self._state.archive, principal)
        seeing = scope[PRINCIPAL] = await self._known.get(principal, look)
        return seeing
