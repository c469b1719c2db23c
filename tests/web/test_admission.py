"""How often a caller and an address may ask, by a clock that the test turns."""

import pytest

from app.errors import TooMany
from app.rights import Principal, Scope
from app.turns import Asker, asked, asks
from app.web.admission import Callers, Rate, Rates
from app.web.auth import KEY_HOLDER


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, who: str, most: int = 1000) -> int:
    """Ask until it is refused; return how often it was not."""
    for count in range(most):
        try:
            rate.take(who)
        except TooMany:
            return count
    return most


def test_after_a_rest_a_burst_may_come_and_then_only_the_rate() -> None:
    clock = Clock()
    rate = Rate("caller", 10, 3, clock)
    assert taken(rate, "a") == 30
    clock.now += 1
    assert taken(rate, "a") == 10
    clock.now += 3600
    assert taken(rate, "a") == 30


def test_one_is_not_refused_for_another() -> None:
    rate = Rate("caller", 10, 1, Clock())
    assert taken(rate, "a") == taken(rate, "b") == 10


def test_who_comes_too_soon_is_told_when_to_come() -> None:
    clock = Clock()
    rate = Rate("caller", 0.1, 20, clock)
    assert taken(rate, "a") == 2
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.seconds == 10
    clock.now += refused.value.seconds
    rate.take("a")
    assert rate.refused == 2


def test_no_more_are_remembered_than_fit() -> None:
    rate = Rate("address", 1, 1, Clock())
    for number in range(40_000):
        rate.take(str(number))
    assert len(rate._due) <= 16_384


def known(callers: Callers, principal: Principal, address: str) -> str:
    one = Asker()
    token = asks(one)
    try:
        callers.known(principal, {"client": (address, 1)})
    finally:
        asked(token)
    return one.key


def test_a_caller_is_one_from_wherever_it_asks() -> None:
    callers = Callers()
    jane = Principal("jane", kind="user")
    assert known(callers, jane, "192.0.2.1") == known(callers, jane, "192.0.2.2")
    other = Principal("jane", Scope(2), kind="user")
    assert known(callers, jane, "192.0.2.1") != known(callers, other, "192.0.2.1")


def test_the_one_key_is_of_many_who_are_told_apart_by_address() -> None:
    callers = Callers()
    assert known(callers, KEY_HOLDER, "192.0.2.1") != known(callers, KEY_HOLDER, "192.0.2.2")


def test_a_caller_over_its_rate_is_refused_from_any_address() -> None:
    rates = Rates(Rate("caller", 1, 2, Clock()), Rate("address", 1, 2, Clock()))
    callers, jane = Callers(rates), Principal("jane", kind="user")
    known(callers, jane, "192.0.2.1")
    known(callers, jane, "192.0.2.2")
    with pytest.raises(TooMany):
        known(callers, jane, "192.0.2.3")
