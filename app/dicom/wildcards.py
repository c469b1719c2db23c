"""Text against a pattern of `*` and `?`, in a time that no pattern can make long."""

import re
from functools import lru_cache


def fits(pattern: str, text: str) -> bool:
    """Say whether all of `text` fits: `*` stands for any characters, `?` for one.

    Pieces between stars are looked for from left to right, each at its first place, so the time
    is bounded by the product of both lengths.

    Source: PS3.4 §C.2.2.2.4
    """
    first, *others = pattern.split("*")
    if not others:
        return len(text) == len(first) and _piece(first).match(text) is not None
    last = others.pop()
    end = len(text) - len(last)
    if end < len(first) or not _piece(first).match(text) or not _piece(last).match(text, end):
        return False
    at = len(first)
    for piece in filter(None, others):
        found = _piece(piece).search(text, at, end)
        if found is None:
            return False
        at = found.end()
    return True


@lru_cache(1024)
def _piece(piece: str) -> re.Pattern[str]:
    return re.compile("".join("." if sign == "?" else re.escape(sign) for sign in piece), re.DOTALL)
