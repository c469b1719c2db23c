"""Trying again, after pauses that grow (stamina): only what may be done twice.

The library would tell of each new try with all arguments and the text of the error, in which URLs
with signatures may stand. Ours tells the kind of error alone.
"""

import logging
from collections.abc import AsyncIterator, Callable

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

_log = logging.getLogger(__name__)


def tries(
    on: type[Exception] | Callable[[Exception], bool],
    attempts: int,
    first_pause: float,
    longest_pause: float = 5.0,
) -> AsyncIterator[stamina.Attempt]:
    """Return attempts for `async for`, each to be entered; the last one's error comes through.

    Pauses are in seconds, and double. Another error than `on` ends it at once.
    """
    set_on_retry_hooks((_tell,))
    return stamina.retry_context(
        on=on,
        attempts=attempts,
        timeout=None,
        wait_initial=first_pause,
        wait_max=longest_pause,
        wait_jitter=first_pause / 2,
    ).__aiter__()


def _tell(details: RetryDetails) -> None:
    kind = type(details.caused_by).__name__
    _log.info("%s, tried again in %.1f s (%d)", kind, details.wait_for, details.retry_num)
