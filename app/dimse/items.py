"""Items of an association request that nobody knows are left out of it (PS3.8 §9.3.1)."""

from collections.abc import Callable, Iterator
from struct import Struct

_PDU, _ITEM = Struct(">BxL"), Struct(">BxH")
_FIXED = 74
"""Bytes before the first item (PS3.8 Tables 9-11, 9-17)."""
_TITLES = (10, 26), (26, 42)
_USER_INFORMATION = 0x50
_ITEMS = frozenset({0x10, 0x20, 0x21, _USER_INFORMATION})
_SUB_ITEMS = frozenset(range(0x51, 0x5A))


def known_items(pdu: bytes) -> bytes:
    """Return an A-ASSOCIATE-RQ or -AC without items and sub-items of unknown types.

    AE titles that are filled up with zeros are so with spaces, as they should be. One whose lengths
    contradict one another comes back as it is.
    """
    if len(pdu) < _FIXED:
        return pdu
    try:
        items = b"".join(_kept(pdu[_FIXED:], _ITEMS.__contains__))
    except ValueError:
        return pdu
    kind, _ = _PDU.unpack_from(pdu)
    titles = b"".join(pdu[start:end].rstrip(b"\0 ").ljust(end - start) for start, end in _TITLES)
    body = pdu[_PDU.size : _TITLES[0][0]] + titles + pdu[_TITLES[-1][1] : _FIXED] + items
    return _PDU.pack(kind, len(body)) + body


def _kept(items: bytes, is_known: Callable[[int], bool]) -> Iterator[bytes]:
    while items:
        if len(items) < _ITEM.size:
            raise ValueError("half an item")
        kind, length = _ITEM.unpack_from(items)
        end = _ITEM.size + length
        if end > len(items):
            raise ValueError("an item that ends behind what holds it")
        value, items = items[_ITEM.size : end], items[end:]
        if kind == _USER_INFORMATION:
            value = b"".join(_kept(value, _SUB_ITEMS.__contains__))
        if is_known(kind):
            yield _ITEM.pack(kind, len(value)) + value
