"""The errors that a command ends with: what is wrong, and what to do about it."""

from app.errors import ArchiveError
from app.index.account import EmbeddedError


class Refusal(RuntimeError):
    """A command cannot do what was asked. The message is a sentence for the operator."""


def is_for_operator(error: Exception) -> bool:
    """Say whether the message alone tells an operator what to do; else a traceback is due."""
    from app.settings import SettingsError  # noqa: PLC0415 - slow to import

    return isinstance(error, Refusal | SettingsError | EmbeddedError | ArchiveError)
