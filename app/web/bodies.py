"""Bodies of requests as they stream in: bounded in size, and read to a clean end.

After an error in the middle of a body the rest is read, up to a bound, before the answer goes out:
a client that is still sending then sees the answer, and the connection stays usable. Where that is
not possible the answer closes it (G-30). How slowly a body may come, `cli.guard` says.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request, Response
from starlette.types import Receive

from app.dicom.limits import Limits
from app.errors import InvalidRequest, TooLarge

_DRAINED_BYTES = 8 * 2**20
_DRAINED_SECONDS = 3.0


class Body:
    """The body of one request."""

    def __init__(self, request: Request, limits: Limits) -> None:
        """Look at the headers; nothing is read yet.

        Raises:
            TooLarge: the Content-Length is over the limit.
        """
        self._receive: Receive = request.receive
        self._limits = limits
        self._size = 0
        self._ended = False
        self._waits_for_go = request.headers.get("expect", "").lower() == "100-continue"
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.request_bytes:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A request of up to {self._limits.request_bytes} bytes was expected")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body.

        Raises:
            InvalidRequest: the client went away.
            TooLarge: the body is over the limit.
        """
        while not self._ended:
            chunk = await self._next()
            if self._size > self._limits.request_bytes:
                raise self._too_large()
            if chunk:
                yield chunk

    async def _next(self) -> bytes:
        self._waits_for_go = False
        message = await self._receive()
        if message["type"] != "http.request":
            self._ended = True
            raise InvalidRequest("The connection was closed before the end of the body")
        chunk: bytes = message.get("body", b"")
        self._size += len(chunk)
        self._ended = not message.get("more_body", False)
        return chunk

    async def finish(self, response: Response) -> Response:
        """Read what is left, so that the client sees the response; else let it close.

        A client that waits for its go sends nothing, and `web.faults` lets it close.
        """
        if not self._waits_for_go and not await self._drained():
            response.headers["Connection"] = "close"
        return response

    async def _drained(self) -> bool:
        most = self._size + _DRAINED_BYTES
        try:
            async with asyncio.timeout(_DRAINED_SECONDS):
                while not self._ended and self._size < most:
                    await self._next()
        except (TimeoutError, InvalidRequest):
            return False
        return self._ended
