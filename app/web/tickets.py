"""Tickets as a source of identity: as a bearer, or in the query of what a page shows or a viewer
reads.

A ticket in a query is taken off it before anything else sees the request, so it is in no log and in
no address that is made from the query; and the answer tells the browser to send it nowhere on.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from starlette.datastructures import State

from app.archive.remembered import Remembered
from app.archive.tickets import PREFIX, find_ticket, ticket_digest
from app.errors import Unauthenticated
from app.rights import Principal
from app.web.auth import TICKET, Credentials
from app.web.faults import ASGIApp, Message, Receive, Scope, Send

LONGEST = 200
_UNKNOWN = "The ticket is not known, or it is over"
READ = frozenset({"GET", "HEAD"})
ROUTES = r"{}/(?:studies|series|instances)(?:/.*)?|/wado"
"""Where Studies are read, below the DICOMweb prefix and elsewhere."""
_NOT_KEPT = (b"private", b"no-store")
_SAID_HERE = {b"referrer-policy": b"no-referrer", b"cross-origin-resource-policy": b"cross-origin"}
"""A page of any origin may embed what a ticket was made for; to read it, it still needs CORS."""


class Tickets:
    """Callers with a ticket: they read its Study, and nothing else.

    What is known of a ticket is known for a second: who revokes one answers after that.
    """

    def __init__(self, state: State, prefix: str) -> None:
        self._state = state
        self._routes = re.compile(ROUTES.format(re.escape(prefix)), re.DOTALL)
        self._known: Remembered[Principal] = Remembered()

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return who shows a ticket.

        Raises:
            Unauthenticated: it is unknown, over or revoked, or not for such a request.
            Unavailable: the index does not answer.
        """
        if not (
            given.scheme == "ticket"
            or (given.scheme == "bearer" and given.value.startswith(PREFIX))
        ):
            return None
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["method"] not in READ or not self._routes.fullmatch(path):
            raise Unauthenticated("A ticket is for reading its Study, and for nothing else")
        value = given.value
        if len(value) > LONGEST or not value.startswith(PREFIX):
            raise Unauthenticated(_UNKNOWN)
        return await self._known.get(ticket_digest(value), partial(self._look, value))

    async def _look(self, value: str) -> Principal:
        ticket = await find_ticket(self._state.archive, value)
        if ticket is None:
            raise Unauthenticated(_UNKNOWN)
        return ticket.principal


class TicketQuery:
    """Makes credentials of a ticket in the query, and keeps answers to it from going anywhere.

    Nothing in here stays in the query; where `Authorization` is sent, too, that counts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http" or TICKET.encode() not in scope["query_string"].lower():
            await self.app(scope, receive, send)
            return
        query, tickets = split_query(scope["query_string"])
        if not tickets:
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        if not any(name == b"authorization" for name, _ in headers):
            shown = ((b"authorization", b"Ticket " + ticket) for ticket in tickets)
            headers = [*headers, *shown]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _private(message["headers"])}
            await send(message)

        await self.app({**scope, "query_string": query, "headers": headers}, receive, sending)


def split_query(query: bytes) -> tuple[bytes, list[bytes]]:
    """Return a query without its tickets, otherwise as it was, and the tickets."""
    kept, tickets = [], []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if unquote_plus(name.decode("latin-1")).strip().lower() == TICKET:
            tickets.append(unquote_plus(value.decode("latin-1")).encode("utf-8", "replace"))
        else:
            kept.append(pair)
    return b"&".join(kept), tickets


def _private(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the header fields of an answer that neither a cache nor another page may get."""
    kept = [pair for pair in headers if pair[0].lower() not in _SAID_HERE]
    caching = b", ".join(value for name, value in kept if name.lower() == b"cache-control")
    if not any(word in caching.lower() for word in _NOT_KEPT):
        kept = [pair for pair in kept if pair[0].lower() != b"cache-control"]
        kept.append((b"cache-control", b"private, no-cache"))
    return [*kept, *_SAID_HERE.items()]
