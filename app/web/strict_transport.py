"""HTTP Strict Transport Security (RFC 6797): who came by TLS once, comes by TLS for a year."""

from app.web.faults import ASGIApp, Message, Receive, Scope, Send
from app.web.forwarded import is_secure

_HEADER = (b"strict-transport-security", b"max-age=31536000")


class StrictTransport:
    """Says so in every answer over TLS, our own or that of a trusted proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], _HEADER]}
            await send(message)

        await self.app(scope, receive, sending if is_secure(scope) else send)
