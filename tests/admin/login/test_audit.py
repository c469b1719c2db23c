"""Logins in the audit trail (PS3.15 §A.5.3): who, from where, and who was not."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.admin.login import SignIn
from app.archive.audit import all_entries
from app.archive.audit_facts import fact_of
from app.archive.local_users import add_user
from app.dicom.audit_message import LOGIN, LOGOUT, USER_AUTHENTICATION
from app.index.audit_log import Wanted
from app.index.events import Event
from app.index.reads import LOGGED_IN, LOGGED_OUT, UNAUTHENTICATED
from app.rights import Principal, Scope
from tests.admin.login.conftest import SAME, Visited, log_in
from tests.web.oidc.standin import Provider

ROOT = Principal("operator")
PASSWORD = "a-secret-of-anna-17"
KINDS = (LOGGED_IN, LOGGED_OUT, UNAUTHENTICATED)


async def trail_of(served: Visited, tenant: int = 1) -> Sequence[Event]:
    auditor = Principal("auditor", Scope(tenant))
    wanted = Wanted(kinds=KINDS)
    return [one async for one in all_entries(served.app.state.archive, auditor, wanted)]


@pytest.fixture
async def local(served: Visited) -> Visited:
    """The application, where anna of tenant 1 and ben of tenant 2 log in by password."""
    served.app.state.sign_in = SignIn(None, 3600)
    archive = served.app.state.archive
    async with archive.index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    await add_user(archive, ROOT, "anna", PASSWORD, ["viewer"])
    await add_user(archive, Principal("operator", Scope(2)), "ben", PASSWORD, ["viewer"])
    return served


async def post(served: Visited, path: str, **form: Any) -> int:
    headers = {**SAME, "User-Agent": "browser/1"}
    return (await served.browser.post(path, data=form, headers=headers)).status_code


async def test_a_login_and_a_logout_are_in_the_trail_before_they_are_answered(
    local: Visited,
) -> None:
    assert await post(local, "/login", name="anna", password=PASSWORD) == 303
    assert await post(local, "/logout") == 200
    assert await post(local, "/logout") == 200  # nobody's
    begun, ended = await trail_of(local)
    assert (begun.kind, begun.actor, ended.kind, ended.actor) == (
        *(LOGGED_IN, "anna"),
        *(LOGGED_OUT, "anna"),
    )
    for event, code in ((begun, LOGIN), (ended, LOGOUT)):
        assert event.payload["by"] == "user"
        assert (event.payload["address"], event.payload["agent"]) == ("127.0.0.1", "browser/1")
        fact = fact_of(event)
        assert fact is not None
        assert (fact.event, fact.types, fact.outcome) == (USER_AUTHENTICATION, (code,), 0)


async def test_a_login_at_the_provider_is_in_the_trail(served: Visited, standin: Provider) -> None:
    assert (await log_in(served, standin)).status_code == 303
    (event,) = await trail_of(served)
    assert (event.kind, event.actor) == (LOGGED_IN, "user-1")


async def test_a_wrong_password_says_whose_it_was_to_that_tenants_auditor(local: Visited) -> None:
    assert await post(local, "/login", name="ben", password="wrong") == 401
    assert await trail_of(local) == []
    (event,) = await trail_of(local, 2)
    assert (event.kind, event.actor) == (UNAUTHENTICATED, "ben")
    fact = fact_of(event)
    assert fact is not None
    assert (fact.event, fact.types, fact.outcome) == (USER_AUTHENTICATION, (LOGIN,), 4)


async def test_what_is_nobodys_name_is_not_kept(local: Visited) -> None:
    """People type their password where the name belongs."""
    assert await post(local, "/login", name=PASSWORD, password="anna") == 401
    (event,) = await trail_of(local)
    assert (event.kind, event.actor) == (UNAUTHENTICATED, "")
    assert PASSWORD not in repr(event)


async def test_a_flood_of_guesses_is_few_entries(local: Visited) -> None:
    statuses = [await post(local, "/login", name="anna", password="wrong") for _ in range(12)]
    assert statuses == [401] * 5 + [429] * 7
    one, other = await trail_of(local)
    assert (one.actor, one.payload["status"]) == ("anna", 401)
    assert (other.actor, other.payload["status"]) == ("", 429)


async def test_what_is_no_login_is_no_attempt(served: Visited) -> None:
    assert (await served.browser.get("/login")).status_code == 303
    assert (await served.browser.get("/auth/callback")).status_code == 401
    (event,) = await trail_of(served)
    assert (event.kind, event.actor) == (UNAUTHENTICATED, "")
