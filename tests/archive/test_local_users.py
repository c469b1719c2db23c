"""Local users: let in by a password, slowed down when they guess, and let in no more."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from time import process_time

import pytest
from argon2 import profiles

from app.archive import known_users, local_users, passwords
from app.archive.context import Archive, Place, open_archive
from app.archive.local_users import add_user, disable_user, list_users, set_password
from app.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from app.index.events import Position, read_events
from app.rights import ROLES, Principal, Role, Scope
from tests.archive.test_api_keys import ADMIN, NARROWED, NO_ADMIN, sql

PASSWORD, OTHER = "correct horse battery", "wrong horse battery"
HERE, THERE = "203.0.113.5", "203.0.113.6"
pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture
def costly_passwords(cheap_passwords: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hash cost what it costs; to be asked for before what opens an archive."""
    monkeypatch.setattr(passwords, "PROFILE", profiles.RFC_9106_LOW_MEMORY)


@pytest.fixture
def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_users, "LEASE_SECONDS", 0)


@pytest.fixture
async def meier(archive: Archive) -> None:
    await add_user(archive, ADMIN, "meier", PASSWORD, ["viewer"], ["trial:42"])


@pytest.fixture
async def elsewhere(archive: Archive, database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """Another process on the same index."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache-2")
    async with open_archive(place) as other:
        yield other


async def guess(archive: Archive, name: str = "meier", address: str = HERE) -> str:
    """Send a wrong password; return how that is answered."""
    with pytest.raises((Unauthenticated, TooMany)) as refused:
        await archive.users.principal(name, OTHER, address)
    return type(refused.value).__name__


async def test_a_user_is_known_by_name_and_password(archive: Archive, meier: None) -> None:
    who = await archive.users.principal("meier", PASSWORD, HERE)
    assert (who.name, who.kind) == ("meier", "user")
    assert who.verbs == ROLES[Role.VIEWER]
    assert who.scope == Scope(1, labels=frozenset({"trial:42"}))
    assert await guess(archive) == "Unauthenticated"
    with pytest.raises(Unauthenticated):
        await archive.users.principal("Meier", PASSWORD, HERE)
    with pytest.raises(Unauthenticated):
        await archive.users.principal("meier", PASSWORD + "x" * 2_000, HERE)


@pytest.mark.slow
async def test_a_right_password_is_hashed_once_a_minute_however_many_ask(
    costly_passwords: None, archive: Archive, meier: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = process_time()
    await archive.users.principal("meier", PASSWORD, HERE)
    once = process_time() - begun
    begun = process_time()
    asking = (archive.users.principal("meier", PASSWORD, HERE) for _ in range(200))
    assert {who.name for who in await asyncio.gather(*asking)} == {"meier"}
    assert process_time() - begun < 20 * once
    assert OTHER.encode() not in repr(vars(archive.users._right)).encode()
    assert PASSWORD not in repr([*archive.users._right._entries])


async def test_the_log_and_the_listing_hold_no_password(
    archive: Archive, meier: None, no_lease: None
) -> None:
    await set_password(archive, ADMIN, "meier", OTHER)
    await disable_user(archive, ADMIN, "meier")
    await disable_user(archive, ADMIN, "meier", disabled=False)
    events = await read_events(archive.index, 1, Position())
    assert [one.kind for one in events] == [
        "user-added",
        "user-password-set",
        "user-disabled",
        "user-enabled",
    ]
    assert events[0].payload == {
        "user": {"name": "meier", "roles": ["viewer"], "labels": ["trial:42"]}
    }
    (user,) = await list_users(archive, ADMIN)
    said = f"{user!r} {events!r}"
    assert "argon2" not in said
    assert PASSWORD not in said


async def test_who_is_disabled_is_let_in_nowhere(
    archive: Archive, elsewhere: Archive, meier: None
) -> None:
    for process in (archive, elsewhere):
        await process.users.principal("meier", PASSWORD, HERE)
    await disable_user(elsewhere, ADMIN, "meier")
    for process in (archive, elsewhere):
        with pytest.raises(Unauthenticated):
            await process.users.principal("meier", PASSWORD, HERE)
    await disable_user(elsewhere, ADMIN, "meier", disabled=False)
    await archive.users.principal("meier", PASSWORD, HERE)


@pytest.mark.slow
async def test_another_password_ends_the_one_before_everywhere(
    archive: Archive, elsewhere: Archive, meier: None
) -> None:
    for process in (archive, elsewhere):
        await process.users.principal("meier", PASSWORD, HERE)
    await set_password(elsewhere, ADMIN, "meier", OTHER)
    for process in (archive, elsewhere):
        with pytest.raises(Unauthenticated):
            await process.users.principal("meier", PASSWORD, HERE)
        await process.users.principal("meier", OTHER, HERE)


@pytest.mark.parametrize("name", ["meier", "nobody"])
async def test_after_five_wrong_ones_a_name_from_an_address_has_to_wait(
    archive: Archive, elsewhere: Archive, meier: None, name: str
) -> None:
    processes = [archive, elsewhere, archive, elsewhere, archive, archive, elsewhere]
    answers = [await guess(one, name) for one in processes]
    assert answers == ["Unauthenticated"] * 5 + ["TooMany"] * 2
    with pytest.raises(TooMany) as refused:
        await archive.users.principal(name, PASSWORD, HERE)
    assert 0 < refused.value.seconds <= 60
    assert await guess(archive, name, THERE) == "Unauthenticated"
    assert (await archive.users.principal("meier", PASSWORD, THERE)).name == "meier"


@pytest.mark.slow
async def test_a_minute_later_it_may_be_tried_again(archive: Archive, meier: None) -> None:
    assert [await guess(archive) for _ in range(6)][-1] == "TooMany"
    await sql(archive, "UPDATE failed_login SET since = now() - interval '61 seconds'")
    await asyncio.sleep(1.01)
    assert await guess(archive) == "Unauthenticated"
    rows = await archive.index.fetch("SELECT failures FROM failed_login")
    assert [row["failures"] for row in rows] == [1, 1]


@pytest.mark.slow
async def test_a_right_password_ends_the_count_of_its_name_alone(
    archive: Archive, meier: None
) -> None:
    for _ in range(4):
        await guess(archive)
    await archive.users.principal("meier", PASSWORD, HERE)
    assert [await guess(archive) for _ in range(5)] == ["Unauthenticated"] * 5


async def test_an_address_that_tries_many_names_has_to_wait(
    archive: Archive, meier: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_users, "MOST_OF_ADDRESS", 3)
    near = ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1:2:3", "2001:db8::4"]
    answers = [await guess(archive, f"n{number}", it) for number, it in enumerate(near)]
    assert answers == ["Unauthenticated"] * 3 + ["TooMany"]
    assert await guess(archive, "n5", "2001:db8:0:1::1") == "Unauthenticated"
    assert await guess(archive, "n6", "::ffff:203.0.113.5") == "Unauthenticated"
    assert await guess(archive, "n7", "") == "Unauthenticated"


async def test_only_so_many_wait_for_their_turn(
    costly_passwords: None, archive: Archive, meier: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_users, "MOST_WAITING", 2)
    asking = [archive.users.principal(f"n{number}", OTHER, HERE) for number in range(4)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert Counter(map(type, answers)) == {Unauthenticated: 2, Unavailable: 2}
    assert (await archive.users.principal("meier", PASSWORD, HERE)).name == "meier"


@pytest.mark.slow
async def test_it_takes_as_long_whether_there_is_such_a_user(
    costly_passwords: None, archive: Archive, meier: None
) -> None:
    took: dict[str, list[float]] = {"meier": [], "nobody": []}
    for number in range(5):
        for name, times in took.items():
            begun = process_time()
            await guess(archive, name, f"203.0.113.{number}")
            times.append(process_time() - begun)
    known, unknown = median(took["meier"]), median(took["nobody"])
    assert 0.5 < known / unknown < 2


async def test_names_are_taken_once_on_the_whole_server(archive: Archive, meier: None) -> None:
    await sql(archive, "INSERT INTO tenant VALUES (2, 'other')")
    there = Principal("other", Scope(2))
    with pytest.raises(Conflict):
        await add_user(archive, there, "meier", PASSWORD, ["viewer"])
    await add_user(archive, there, "huber", PASSWORD, ["viewer"])
    assert (await archive.users.principal("huber", PASSWORD, HERE)).scope == Scope(2)
    assert [user.name for user in await list_users(archive, there)] == ["huber"]
    with pytest.raises(NotFound):
        await disable_user(archive, there, "meier")
    with pytest.raises(NotFound):
        await set_password(archive, ADMIN, "huber", OTHER)


@pytest.mark.parametrize("who", [NO_ADMIN, NARROWED], ids=["no administrator", "narrowed"])
async def test_only_who_may_all_lets_users_in(archive: Archive, who: Principal) -> None:
    with pytest.raises(Forbidden):
        await add_user(archive, who, "a", PASSWORD, ["viewer"])
    with pytest.raises(Forbidden):
        await list_users(archive, who)
    with pytest.raises(Forbidden):
        await disable_user(archive, who, "a")
    with pytest.raises(Forbidden):
        await set_password(archive, who, "a", PASSWORD)


async def test_a_name_with_a_colon_is_no_user(archive: Archive) -> None:
    with pytest.raises(InvalidRequest):
        await add_user(archive, ADMIN, "a:b", PASSWORD, ["viewer"])
    with pytest.raises(InvalidRequest):
        await disable_user(archive, ADMIN, "a\0b")
    with pytest.raises(InvalidRequest):
        await set_password(archive, ADMIN, "a\0b", PASSWORD)
