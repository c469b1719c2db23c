"""What keeps the bridge from work that it tries again and again: told once, and when it is over."""

import logging
import threading

from app.dimse.connections import NoAnswer

_KEY = (
    "Give {whose} a key of role `service` (fileroom keys create NAME --role service; its file as "
    "{where}), and start the bridge again"
)
_REFUSED = frozenset({401, 403})


class Hindrances:
    """Tells the log of what hinders a kind of work, whoever meets it, when that changes."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}

    def no_answer(self, work: str, error: NoAnswer) -> None:
        """Tell that the archive does not answer."""
        if self._is_news(work, 0):
            self._log.warning("%s waits: the archive does not answer: %s", work, error)

    def refused(self, work: str, code: int, *, peer: str = "") -> None:
        """Tell that the archive refuses, and what to do; by its key of the bridge or of a peer."""
        if not self._is_news(work, code):
            return
        advice = ""
        if code in _REFUSED:
            whose, where = "the bridge", "FILEROOM_DIMSE__KEY_FILE"
            if peer:
                whose, where = peer, f"key_file of {peer} in FILEROOM_DIMSE__PEERS"
            advice = f". {_KEY.format(whose=whose, where=where)}"
        self._log.warning("%s waits: the archive answers HTTP status %d%s", work, code, advice)

    def over(self, work: str) -> None:
        """Tell that the work goes on, if anything was in its way."""
        with self._lock:
            was_hindered = self._known.pop(work, None) is not None
        if was_hindered:
            self._log.info("%s goes on", work)

    def _is_news(self, work: str, code: int) -> bool:
        with self._lock:
            if self._known.get(work) == code:
                return False
            self._known[work] = code
            return True
