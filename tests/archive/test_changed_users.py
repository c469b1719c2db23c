"""Local users who get other rights, or are removed: nothing of before is left, in any process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.archive.context import Archive, Place, open_archive
from app.archive.local_users import add_user, change_user, list_users, remove_user
from app.archive.overrides import break_glass, list_overrides
from app.archive.sessions import begin_session, find_session
from app.archive.tickets import end_given, find_ticket, make_ticket
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound, TooMany, Unauthenticated
from app.index.events import Position, read_events
from app.rights import ROLES, Principal, Role, Scope, Verb
from tests.archive.test_api_keys import ADMIN, NARROWED, NO_ADMIN, sql
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

PASSWORD, OTHER = "correct horse battery", "wrong horse battery"
HERE = "203.0.113.5"
EMERGENCY = ["viewer", "emergency"]
pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture
def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait, nor remember; to be asked for before what opens an archive."""
    for name in ("local_users", "overrides", "tickets"):
        monkeypatch.setattr(f"app.archive.{name}.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.0,))


@pytest.fixture
async def elsewhere(archive: Archive, database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """Another process on the same index."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache-2")
    async with open_archive(place) as other:
        yield other


async def ask(archive: Archive, password: str = PASSWORD) -> Principal:
    return await archive.users.principal("meier", password, HERE)


async def in_an_emergency(archive: Archive) -> str:
    """Let meier see nothing but by an emergency; return a Study that was opened so."""
    await add_user(archive, ADMIN, "meier", PASSWORD, EMERGENCY, ["hers"])
    study = new_uid()
    await store(archive, ADMIN, make_part10(StudyInstanceUID=study))
    await break_glass(archive, await ask(archive), study, "nobody to ask", 600)
    return study


async def test_other_rights_are_those_of_every_process(
    archive: Archive, elsewhere: Archive
) -> None:
    await add_user(archive, ADMIN, "meier", PASSWORD, ["curator"])
    for process in (archive, elsewhere):
        assert (await ask(process)).scope.is_whole
    await change_user(elsewhere, ADMIN, "meier", roles=["viewer", "uploader"], labels=["b", "a"])
    for process in (archive, elsewhere):
        who = await ask(process)
        assert who.verbs == ROLES[Role.VIEWER] | {Verb.STORE}
        assert who.scope == Scope(1, labels=frozenset({"a", "b"}))


async def test_who_is_removed_is_let_in_nowhere(archive: Archive, elsewhere: Archive) -> None:
    await add_user(archive, ADMIN, "meier", PASSWORD, ["viewer"])
    for process in (archive, elsewhere):
        await ask(process)
    await remove_user(elsewhere, ADMIN, "meier")
    for process in (archive, elsewhere):
        with pytest.raises(Unauthenticated):
            await ask(process)
    assert await list_users(archive, ADMIN) == []
    with pytest.raises(NotFound):
        await remove_user(archive, ADMIN, "meier")


async def test_what_is_not_named_stays_as_it_is(no_lease: None, archive: Archive) -> None:
    before = await add_user(archive, ADMIN, "meier", PASSWORD, ["viewer"], ["a"])
    await add_user(archive, ADMIN, "huber", PASSWORD, ["viewer"], ["a"])
    steps: list[tuple[dict[str, Any], tuple[Role, ...], tuple[str, ...] | None]] = [
        ({"roles": ["auditor"]}, (Role.AUDITOR,), ("a",)),
        ({"labels": ["c", "b", "c"]}, (Role.AUDITOR,), ("b", "c")),
        ({"all_studies": True}, (Role.AUDITOR,), None),
        ({"roles": ["viewer"], "labels": ["a"]}, (Role.VIEWER,), ("a",)),
        ({"roles": ["curator"], "all_studies": True}, (Role.CURATOR,), None),
    ]
    for change, roles, labels in steps:
        user = await change_user(archive, ADMIN, "meier", **change)
        assert (user.roles, user.labels) == (roles, labels), change
    huber, meier = await list_users(archive, ADMIN)
    assert (huber.roles, huber.labels) == ((Role.VIEWER,), ("a",))
    assert meier == user
    assert (meier.id, meier.password, meier.created_at) == (
        before.id, before.password, before.created_at,
    )  # fmt: skip
    assert meier.changed_at > before.changed_at


async def test_the_log_says_what_was_given_and_that_it_was_taken(
    no_lease: None, archive: Archive
) -> None:
    await add_user(archive, ADMIN, "meier", PASSWORD, ["viewer"], ["a"])
    await change_user(archive, ADMIN, "meier", roles=["curator"])
    await change_user(archive, ADMIN, "meier", all_studies=True)
    await remove_user(archive, ADMIN, "meier")
    events = (await read_events(archive.index, 1, Position()))[1:]
    assert [(one.kind, one.actor, one.payload["user"]) for one in events] == [
        ("user-changed", "admin", {"name": "meier", "roles": ["curator"], "labels": ["a"]}),
        ("user-changed", "admin", {"name": "meier", "roles": ["curator"]}),
        ("user-removed", "admin", {"name": "meier"}),
    ]
    assert "argon2" not in repr(events)


@pytest.mark.parametrize("removed", [False, True], ids=["changed", "removed"])
async def test_sessions_tickets_and_emergencies_end_with_the_rights(
    no_lease: None, archive: Archive, removed: bool
) -> None:
    study = await in_an_emergency(archive)
    anybody = Principal("meier", kind="user")
    session = await begin_session(archive, anybody, 600)
    _, ticket = await make_ticket(archive, anybody, study, 5, [Verb.VIEW])
    assert await find_session(archive, session, 600)
    assert await find_ticket(archive, ticket)
    assert await list_overrides(archive, ADMIN, 0, 9)
    if removed:
        await remove_user(archive, ADMIN, "meier")
    else:
        await change_user(archive, ADMIN, "meier", labels=["other"])
    assert await find_session(archive, session, 600) is None
    assert await find_ticket(archive, ticket) is None
    assert await list_overrides(archive, ADMIN, 0, 9) == []


async def test_what_was_opened_by_rights_of_a_moment_ago_is_ended_too(
    no_lease: None, archive: Archive
) -> None:
    await in_an_emergency(archive)
    await end_given(archive, 1, "user", "huber")
    assert len(await list_overrides(archive, ADMIN, 0, 9)) == 1
    await end_given(archive, 1, "user", "meier")
    assert await list_overrides(archive, ADMIN, 0, 9) == []


async def test_who_has_the_name_next_has_nothing_of_who_had_it(
    no_lease: None, archive: Archive
) -> None:
    study = await in_an_emergency(archive)
    before = await ask(archive)
    await remove_user(archive, ADMIN, "meier")
    session = await begin_session(archive, before, 600)  # by a request that took its time
    _, ticket = await make_ticket(archive, Principal("meier", kind="user"), study, 5, [Verb.VIEW])
    await break_glass(archive, before, study, "nobody to ask", 600)
    for wanted in [Unauthenticated] * 5 + [TooMany]:
        with pytest.raises(wanted):
            await ask(archive, OTHER)
    await add_user(archive, ADMIN, "meier", OTHER, EMERGENCY, ["hers"])
    assert await find_session(archive, session, 600) is None
    assert await find_ticket(archive, ticket) is None
    assert await list_overrides(archive, ADMIN, 0, 9) == []
    assert (await ask(archive, OTHER)).scope == Scope(1, labels=frozenset({"hers"}))
    with pytest.raises(Unauthenticated):
        await ask(archive)


async def test_a_name_that_is_free_may_be_taken_elsewhere(no_lease: None, archive: Archive) -> None:
    await sql(archive, "INSERT INTO tenant VALUES (2, 'other')")
    there = Principal("other", Scope(2))
    await add_user(archive, ADMIN, "meier", PASSWORD, ["viewer"])
    for step in (remove_user(archive, there, "meier"), change_user(archive, there, "meier",
                 roles=["administrator"])):  # fmt: skip
        with pytest.raises(NotFound):
            await step
    with pytest.raises(Conflict):
        await add_user(archive, there, "meier", PASSWORD, ["viewer"])
    await remove_user(archive, ADMIN, "meier")
    await add_user(archive, there, "meier", PASSWORD, ["viewer"])
    assert (await ask(archive)).scope == Scope(2)


@pytest.mark.parametrize("how", ["changed", "removed", "removed and added anew"])
async def test_a_password_that_waited_for_its_turn_gives_no_rights_of_before(
    no_lease: None, archive: Archive, how: str
) -> None:
    await add_user(archive, ADMIN, "meier", PASSWORD, ["curator"])
    passwords = archive.users.passwords
    checked, check = asyncio.Event(), passwords.check

    async def change_meanwhile(known: str, password: str) -> bool:
        right = await check(known, password)
        if not checked.is_set():
            checked.set()
            await changing
        return right

    async def change() -> None:
        await checked.wait()
        if how == "changed":
            await change_user(archive, ADMIN, "meier", roles=["viewer"])
            return
        await remove_user(archive, ADMIN, "meier")
        if how != "removed":
            await add_user(archive, ADMIN, "meier", PASSWORD, ["curator"])

    changing = asyncio.create_task(change())
    passwords.check = change_meanwhile  # type: ignore[method-assign]
    if how == "changed":
        assert (await ask(archive)).verbs == ROLES[Role.VIEWER]
    else:
        with pytest.raises(Unauthenticated):
            await ask(archive)
    await changing


@pytest.mark.parametrize("who", [NO_ADMIN, NARROWED], ids=["no administrator", "narrowed"])
async def test_only_who_may_all_changes_and_removes(archive: Archive, who: Principal) -> None:
    with pytest.raises(Forbidden):
        await change_user(archive, who, "meier", roles=["viewer"])
    with pytest.raises(Forbidden):
        await remove_user(archive, who, "meier")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"roles": []},
        {"roles": ["god"]},
        {"labels": []},
        {"labels": ["no label\0"]},
        {"labels": ["a"], "all_studies": True},
    ],
    ids=str,
)
async def test_what_is_no_change_changes_nothing(
    no_lease: None, archive: Archive, wrong: dict[str, Any]
) -> None:
    user = await add_user(archive, ADMIN, "meier", PASSWORD, ["viewer"], ["a"])
    with pytest.raises(InvalidRequest):
        await change_user(archive, ADMIN, "meier", **wrong)
    assert await list_users(archive, ADMIN) == [user]
    assert len(await read_events(archive.index, 1, Position())) == 1


async def test_who_is_none_is_not_changed(no_lease: None, archive: Archive) -> None:
    with pytest.raises(NotFound):
        await change_user(archive, ADMIN, "nobody", roles=["viewer"])
    for name in ("a\0b", "operator"):
        with pytest.raises(InvalidRequest):
            await change_user(archive, ADMIN, name, roles=["viewer"])
        with pytest.raises(InvalidRequest):
            await remove_user(archive, ADMIN, name)
