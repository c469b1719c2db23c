"""The busiest routes, served without the framework's routing, dependencies and exit stacks.

They are declared to FastAPI all the same, which puts them into the contract, and both ways call the
same functions. Measured: what FastAPI does before an endpoint is entered was a fifth of the
processor time of storing one Instance.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.datastructures import State

from app.archive.context import Archive
from app.errors import ArchiveError
from app.rights import Principal
from app.web.faults import ASGIApp, Receive, Scope, Send
from app.web.forwarded import base_url_of
from app.web.problems import problem_of

Handler = Callable[[Request, Archive, Principal, str, tuple[str, ...]], Awaitable[Response]]
"""Takes the base of URLs and the names in the path last; a name is not checked yet."""
ROUTE = "fileroom.route"
"""Where a route that is not FastAPI's says its template, for the metrics."""
UNKNOWN_ROUTE = "other"


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """One method of one path."""

    method: str
    template: str
    handler: Handler

    def pattern(self, prefix: str) -> re.Pattern[str]:
        """Return the expression that matches its paths and captures the names."""
        return re.compile(re.sub(r"\\{\w+\\}", "([^/]+)", re.escape(prefix + self.template)))


class Direct:
    """Serves direct routes, and passes everything else on."""

    def __init__(
        self, app: ASGIApp, prefix: str, state: State, routes: Sequence[DirectRoute]
    ) -> None:
        self.app = app
        self.state = state
        self._routes = [(route, route.pattern(prefix), prefix + route.template) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        for route, pattern, template in self._routes:
            if route.method == scope["method"] and (match := pattern.fullmatch(path)):
                scope[ROUTE] = template
                response = await self._answer(route, Request(scope, receive), match.groups())
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _answer(
        self, route: DirectRoute, request: Request, names: tuple[str, ...]
    ) -> Response:
        state = self.state
        try:
            principal = await state.identity.principal(request.scope)
            base_url = base_url_of(request.scope, state)
            return await route.handler(request, state.archive, principal, base_url, names)
        except ArchiveError as error:
            return problem_of(error)


def template_of(scope: Scope) -> str:
    """Return the whole template of a route; FastAPI leaves out the prefix of its router."""
    if ROUTE in scope:
        return str(scope[ROUTE])
    if "route" not in scope:
        return UNKNOWN_ROUTE
    template: str = scope["route"].path_format
    asked = template.format_map(scope["path_params"])
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.removesuffix(asked) + template if path.endswith(asked) else template
