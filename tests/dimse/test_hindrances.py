"""What hinders work is told when it changes, and not each time that it is met."""

import logging
from collections.abc import Callable

import pytest

from app.dimse.connections import NoAnswer
from app.dimse.hindrances import Hindrances

KNOWN = "forwarding waits: the archive does not answer: {}"


def test_only_what_is_new_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hindrances = Hindrances(logging.getLogger("app.dimse"))
    met: list[Callable[[], None]] = [
        lambda: hindrances.over("forwarding"),
        lambda: hindrances.no_answer("forwarding", NoAnswer("TimeoutError")),
        lambda: hindrances.no_answer("forwarding", NoAnswer("ConnectionRefusedError")),
        lambda: hindrances.refused("forwarding", 503),
        lambda: hindrances.refused("forwarding", 503),
        lambda: hindrances.refused("telling", 503),
        lambda: hindrances.over("forwarding"),
        lambda: hindrances.over("forwarding"),
        lambda: hindrances.refused("forwarding", 503),
    ]
    for one in met:
        one()
    assert caplog.messages == [
        KNOWN.format("TimeoutError"),
        "forwarding waits: the archive answers HTTP status 503",
        "telling waits: the archive answers HTTP status 503",
        "forwarding goes on",
        "forwarding waits: the archive answers HTTP status 503",
    ]
