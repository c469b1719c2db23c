"""HEAD on everything that GET answers (RFC 9110 §9.3.2): the same answer, and no body."""

from starlette.requests import ClientDisconnect

from app.web.faults import ASGIApp, Message, NothingMore, Receive, Scope, Send

_ONLY_OF_GET = frozenset({b"range", b"if-range"})
"""Header fields that mean something to GET alone (RFC 9110 §14.2)."""


class Head:
    """Asks the application as by GET, sends the head of its answer, and stops it there.

    What streams is told that nobody listens any more, so a body is neither read nor made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        answered = False
        headers = [pair for pair in scope["headers"] if pair[0] not in _ONLY_OF_GET]

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                answered = True
            elif message.get("more_body", False):
                raise NothingMore

        try:
            await self.app({**scope, "method": "GET", "headers": headers}, receive, sending)
        except (NothingMore, ClientDisconnect):
            if not answered:
                raise
