"""Quarantine: an object that no store has whole is named by its row under a key that none has.

So whoever reads it finds nothing, on every way to its bytes and in every process, and nothing bad
is ever given out; and where nothing is wrong it costs nothing.
"""

QUARANTINE = "quarantine/"


def quarantined_key(key: str) -> str:
    """Return what a row has for the key of an object in quarantine."""
    return key if is_quarantined(key) else QUARANTINE + key


def is_quarantined(key: str) -> bool:
    """Say whether the key in a row is that of an object in quarantine."""
    return key.startswith(QUARANTINE)


def stored_key(key: str) -> str:
    """Return the key under which the bytes are, or were, for a key in a row."""
    return key.removeprefix(QUARANTINE)
