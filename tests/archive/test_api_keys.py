"""API keys: made, shown once, listed, revoked, and known by every process."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.archive import api_keys
from app.archive.api_keys import WantedKey, list_keys, make_key, revoke_key
from app.archive.context import Archive, Place, open_archive
from app.archive.known_keys import KnownKeys, digest_of, new_text
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated, Unavailable
from app.index.engine import Index, open_index
from app.index.events import Position, read_events
from app.rights import ROLES, Principal, Role, Scope, Verb
from tests.waiting import until

ADMIN = Principal("admin")
NO_ADMIN = Principal("curator", verbs=ROLES[Role.CURATOR])
NARROWED = Principal("narrow", Scope(labels=frozenset({"trial"})))


@pytest.fixture
def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "LEASE_SECONDS", 0)


@pytest.fixture
async def elsewhere(archive: Archive, database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """Another process on the same index."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache-2")
    async with open_archive(place) as other:
        yield other


async def sql(archive: Archive, statement: str, *arguments: object) -> None:
    async with archive.index.at_once() as connection:
        await connection.execute(statement, *arguments)


async def test_a_key_says_who_asks_and_what_that_may(archive: Archive) -> None:
    wanted = WantedKey("trial-42", ["viewer", "uploader"], ["trial:42", "teaching"])
    made = await make_key(archive, ADMIN, wanted)
    assert re.fullmatch(r"frk_[0-9a-f]{12}_[0-9a-f]{64}", made.text)
    assert made.text not in repr(made)
    who = await archive.keys.principal(made.text)
    assert (who.name, who.kind) == ("trial-42", "key")
    assert who.verbs == {Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD, Verb.STORE}
    assert who.scope == Scope(1, labels=frozenset({"trial:42", "teaching"}))
    whole = await make_key(archive, ADMIN, WantedKey("all", ["administrator"], None, None))
    assert (await archive.keys.principal(whole.text)).scope.is_whole
    assert whole.key.expires_at is None


async def test_of_a_key_only_its_digest_is_kept(archive: Archive) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    secret = made.text.rpartition("_")[2]
    for statement in (
        "SELECT string_agg(it::text, '') FROM api_key it",
        "SELECT string_agg(it::text, '') FROM event it",
    ):
        (row,) = await archive.index.fetch(statement)
        assert secret not in row[0]
        assert made.key.id in row[0]


async def test_the_log_says_who_was_let_in_and_no_more(archive: Archive, no_lease: None) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"], ["a"]))
    await revoke_key(archive, ADMIN, "one")
    events = await read_events(archive.index, 1, Position())
    assert [(one.kind, one.actor) for one in events] == [
        ("key-created", "admin"),
        ("key-revoked", "admin"),
    ]
    said = {"id": made.key.id, "name": "one"}
    assert events[0].payload == {"key": {**said, "roles": ["viewer"], "labels": ["a"]}}
    assert events[1].payload == {"key": said}


def forged(text: str) -> dict[str, str]:
    other = new_text()[1]
    return {
        "another secret": text[:-1] + ("0" if text[-1] != "0" else "1"),
        "another id": other[:17] + text[17:],
        "the secret of another": text[:17] + other[17:],
        "in capitals": text.upper().replace("FRK", "frk"),
        "longer": text + "0",
        "its beginning": text[:17],
        "nothing": "frk_",
        "no ascii": "frk_\xff",
    }


@pytest.mark.parametrize("how", forged("f" * 82))
async def test_a_forged_key_is_nobodys(archive: Archive, how: str) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    wrong = forged(made.text)[how]
    assert wrong != made.text
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="not known"):
            await archive.keys.principal(wrong)


async def test_an_expired_key_counts_no_more_and_says_so(archive: Archive) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"], None, 1))
    await archive.keys.principal(made.text)
    await sql(archive, "UPDATE api_key SET expires_at = now() - interval '1 second'")

    async def is_refused() -> bool:
        try:
            await archive.keys.principal(made.text)
        except Unauthenticated:
            return True
        return False

    await until(is_refused, 1.5)
    with pytest.raises(Unauthenticated, match="expired"):
        await archive.keys.principal(made.text)


async def test_when_a_key_is_revoked_no_process_takes_it(
    archive: Archive, elsewhere: Archive
) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    for process in (archive, elsewhere):
        await process.keys.principal(made.text)
    await revoke_key(archive, ADMIN, "one")
    for process in (archive, elsewhere):
        with pytest.raises(Unauthenticated, match="revoked"):
            await process.keys.principal(made.text)


async def test_a_known_key_asks_the_index_once_a_second(database_url: str) -> None:
    index = await open_index(database_url)
    text = new_text()[1]
    add = (
        "INSERT INTO api_key (id, tenant_id, name, digest, created_by) VALUES ($1, 1, 'a', $2, '')"
    )
    async with index.at_once() as connection:
        await connection.execute(add, text[4:16], digest_of(text))
    known = KnownKeys(index)
    await known.principal(text)
    await known.close()
    await index.close()  # whoever asks it now gets an error
    assert (await known.principal(text)).name == "a"
    known._known.forget(digest_of(text))
    with pytest.raises(Unavailable):
        await known.principal(text)


async def test_when_a_key_was_used_last_is_noted_once_a_minute(archive: Archive) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    await archive.keys.principal(made.text)

    async def used() -> Any:
        (key,) = await list_keys(archive, ADMIN)
        return key.last_used_at

    async def is_noted() -> bool:
        return await used() is not None

    await until(is_noted)
    first = await used()
    await KnownKeys(archive.index).principal(made.text)
    await archive.keys.close()
    assert await used() == first
    await sql(archive, "UPDATE api_key SET last_used_at = now() - interval '2 minutes'")
    another = KnownKeys(archive.index)
    await another.principal(made.text)
    await another.close()
    assert await used() > first


async def test_names_are_those_of_living_keys_of_a_tenant(archive: Archive, no_lease: None) -> None:
    await sql(archive, "INSERT INTO tenant VALUES (2, 'other')")
    there = Principal("other", Scope(2))
    ours = await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    with pytest.raises(Conflict, match="revoke it first"):
        await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    theirs = await make_key(archive, there, WantedKey("one", ["viewer"]))
    assert (await archive.keys.principal(theirs.text)).scope == Scope(2)
    assert [key.id for key in await list_keys(archive, there)] == [theirs.key.id]
    await revoke_key(archive, there, "one")
    await archive.keys.principal(ours.text)  # that of this name here still counts
    with pytest.raises(NotFound):
        await revoke_key(archive, there, "one")
    again = await make_key(archive, there, WantedKey("one", ["viewer"]))
    assert [key.id for key in await list_keys(archive, there)] == [theirs.key.id, again.key.id]


@pytest.mark.parametrize("who", [NO_ADMIN, NARROWED], ids=["no administrator", "narrowed"])
async def test_only_who_may_all_lets_others_in(archive: Archive, who: Principal) -> None:
    with pytest.raises(Forbidden):
        await make_key(archive, who, WantedKey("one", ["viewer"], ["trial"]))
    with pytest.raises(Forbidden):
        await list_keys(archive, who)
    with pytest.raises(Forbidden):
        await revoke_key(archive, who, "one")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (WantedKey("", ["viewer"]), "A name is"),
        (WantedKey("a b", ["viewer"]), "A name is"),
        (WantedKey("x" * 65, ["viewer"]), "A name is"),
        (WantedKey("Operator", ["viewer"]), "none of anonymous, key, operator"),
        (WantedKey("a", []), "A role is missing"),
        (WantedKey("a", ["root"]), "root is no role; roles are viewer, uploader"),
        (WantedKey("a", ["viewer"], []), "From 1 to 64 labels"),
        (WantedKey("a", ["viewer"], ["A"]), "A label is"),
        (WantedKey("a", ["viewer"], None, 0), "days were expected"),
        (WantedKey("a", ["viewer"], None, 36_501), "days were expected"),
    ],
)
async def test_what_cannot_be_given_is_refused(
    archive: Archive, wanted: WantedKey, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        await make_key(archive, ADMIN, wanted)


async def test_an_index_that_does_not_answer_refuses_nobody(archive: Archive) -> None:
    made = await make_key(archive, ADMIN, WantedKey("one", ["viewer"]))
    index: Index = await open_index("postgresql://nobody@/none?host=/nowhere")
    with pytest.raises(Unavailable):
        await KnownKeys(index).principal(made.text)
    await index.close()
