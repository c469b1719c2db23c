"""Bodies of requests in gzip (RFC 9110 §8.4), unpacked as they stream in and within bounds."""

import zlib
from collections.abc import AsyncIterator

from fastapi import Request

from app.dicom.limits import Limits
from app.errors import InvalidRequest, TooLarge, UnsupportedMediaType

_GZIP = 31
_PIECE = 2**18
_BLOCK = 2**13
"""Bytes that are unpacked at once: what is left of them is copied at the end of each member."""
_FREE = 64 * 2**20
"""What may come of any number of bytes: a ratio means little at the beginning."""


def decoded(request: Request, chunks: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """Return the body without its Content-Encoding.

    Raises:
        UnsupportedMediaType: it is of another coding than gzip, or of several.
        InvalidRequest: while it is read: it is no gzip, or cut short.
        TooLarge: while it is read: it grows beyond a limit.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"identity", ""}:
        return chunks
    if coding not in {"gzip", "x-gzip"}:
        raise UnsupportedMediaType("A body in gzip, or without Content-Encoding, was expected")
    return _Unpacking(chunks, limits).pieces()


class _Unpacking:
    """A body that may consist of several members, which count as one."""

    def __init__(self, chunks: AsyncIterator[bytes], limits: Limits) -> None:
        self._chunks = chunks
        self._limits = limits
        self._taken = self._made = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what is unpacked, in pieces of bounded size."""
        engine = None
        async for block in _blocks(self._chunks):
            self._taken += len(block)
            data, more = block, True
            while more:
                engine = engine or zlib.decompressobj(wbits=_GZIP)
                piece = self._unpack(engine, data)
                if piece:
                    yield piece
                if engine.eof:
                    data, engine = engine.unused_data, None
                    more = bool(data)
                else:
                    data = engine.unconsumed_tail
                    more = bool(data) or len(piece) == _PIECE
        if engine is not None:
            raise InvalidRequest("The gzip of the body ends too early")

    def _unpack(self, engine: "zlib._Decompress", data: bytes) -> bytes:
        try:
            piece = engine.decompress(data, _PIECE)
        except zlib.error as error:
            raise InvalidRequest("The body is not the gzip that its headers promise") from error
        self._made += len(piece)
        most = min(self._limits.request_bytes, _FREE + self._taken * self._limits.inflate_ratio)
        if self._made > most:
            raise TooLarge("The body grows beyond what is taken when it is unpacked")
        return piece


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        for at in range(0, len(chunk), _BLOCK):
            yield chunk[at : at + _BLOCK]
