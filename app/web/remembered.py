"""What a process remembers for a moment of what it has looked up: bounded, and soon forgotten."""

from collections import OrderedDict
from collections.abc import Hashable
from time import monotonic
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Remembered(Generic[_Key, _Value]):
    """Up to `most` values, each for some seconds; the one that was put first goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[_Key, tuple[float, _Value]] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """Return what is remembered under a key, None if nothing is."""
        found = self._values.get(key)
        if found is None:
            return None
        until, value = found
        if monotonic() >= until:
            del self._values[key]
            return None
        return value

    def put(self, key: _Key, value: _Value, seconds: float) -> None:
        """Remember a value for so long."""
        self._values[key] = (monotonic() + seconds, value)
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)

    def forget(self, key: _Key) -> None:
        """Remember nothing under a key any more."""
        self._values.pop(key, None)
