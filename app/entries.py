"""Settings that are JSON lists in a variable, an object for each entry."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def read_entries(value: str, example: str) -> Sequence[Mapping[str, Any]]:
    """Return the entries of a list; `example` is what the message shows.

    Raises:
        ValueError: it cannot be understood; the message says what should stand there.
    """
    try:
        entries = json.loads(value)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"should be a JSON list such as {example}")
    return entries
