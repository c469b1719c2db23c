"""Who may give which ticket, and whose tickets one sees and revokes."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from app.archive.api_keys import WantedKey, make_key, revoke_key
from app.archive.context import Archive
from app.archive.labels import label_study
from app.archive.tickets import find_ticket, list_tickets, make_ticket, revoke_ticket
from app.errors import Forbidden, InvalidRequest, NotFound
from app.index.tickets import end_tickets_of
from app.rights import Principal, Role, Scope, Verb, principal_of
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

READING = frozenset({Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD})


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.tickets.LEASE_SECONDS", 0)


@pytest.fixture
async def study(archive: Archive, principal: Principal) -> str:
    """A Study that is stored."""
    uid = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=uid))
    return uid


def viewer(name: str = "anna", kind: str = "user", scope: Scope | None = None) -> Principal:
    return principal_of(name, kind, [Role.VIEWER], scope or Scope())


async def give(
    archive: Archive, maker: Principal, study: str, verbs: Collection[Verb] = READING
) -> tuple[int, str]:
    made, secret = await make_ticket(archive, maker, study, 5, verbs)
    return made.number, secret


async def test_a_ticket_has_its_makers_scope_and_of_it_one_study(
    archive: Archive, study: str
) -> None:
    two = Scope(studies=frozenset({study, new_uid()}))
    _, secret = await give(archive, viewer(scope=two), study)
    found = await find_ticket(archive, secret)
    assert found is not None
    assert found.scope == Scope(studies=frozenset({study}))
    who = found.principal
    assert (who.kind, who.verbs, who.scope) == ("ticket", READING, found.scope)
    assert "anna" in who.name
    assert secret not in who.name


async def test_a_ticket_ends_where_the_label_does_that_its_maker_sees_by(
    archive: Archive, principal: Principal, study: str
) -> None:
    by_label = viewer(scope=Scope(labels=frozenset({"a"})))
    with pytest.raises(NotFound):
        await give(archive, by_label, study)
    await label_study(archive, principal, study, ["a"])
    _, secret = await give(archive, by_label, study)
    found = await find_ticket(archive, secret)
    assert found is not None
    assert found.scope == Scope(studies=frozenset({study}), labels=frozenset({"a"}))


async def test_nobody_gives_a_study_or_a_right_that_it_has_not(
    archive: Archive, study: str
) -> None:
    for studies in (frozenset[str](), frozenset({new_uid()})):
        with pytest.raises(NotFound):
            await give(archive, viewer(scope=Scope(studies=studies)), study)
    with pytest.raises(NotFound):
        await give(archive, viewer(), new_uid())
    uploader = principal_of("up", "key", [Role.UPLOADER], Scope())
    with pytest.raises(Forbidden):
        await give(archive, uploader, study)
    auditor = principal_of("au", "key", [Role.AUDITOR], Scope())
    made, _ = await make_ticket(archive, auditor, study, 5, READING)
    assert made.verbs == {Verb.SEARCH}
    for minutes, verbs in ((0, READING), (481, READING), (5, {Verb.STORE}), (5, set[Verb]())):
        with pytest.raises(InvalidRequest):
            await make_ticket(archive, viewer(), study, minutes, verbs)


async def test_a_ticket_begets_no_ticket(archive: Archive, study: str) -> None:
    _, secret = await give(archive, viewer(), study)
    found = await find_ticket(archive, secret)
    assert found is not None
    with pytest.raises(Forbidden):
        await give(archive, found.principal, study)


async def test_one_sees_and_revokes_ones_own_tickets_and_an_administrator_all(
    archive: Archive, principal: Principal, study: str
) -> None:
    annas, _ = await give(archive, viewer(), study)
    keys, _ = await give(archive, viewer("anna", "key"), study)
    assert [one.number for one in await list_tickets(archive, viewer(), 0, 9)] == [annas]
    assert [one.number for one in await list_tickets(archive, principal, 0, 9)] == [annas, keys]
    elsewhere = replace(principal, scope=Scope(tenant_id=2))
    assert await list_tickets(archive, elsewhere, 0, 9) == []
    for stranger in (viewer(), viewer("ben"), elsewhere):
        with pytest.raises(NotFound):
            await revoke_ticket(archive, stranger, keys)
    await revoke_ticket(archive, viewer(), annas)
    await revoke_ticket(archive, principal, keys)
    assert await list_tickets(archive, principal, 0, 9) == []


async def test_tickets_end_with_the_rights_of_their_maker(archive: Archive, study: str) -> None:
    _, annas = await give(archive, viewer(), study)
    _, keys = await give(archive, viewer("anna", "key"), study)
    async with archive.index.writing() as connection:
        await end_tickets_of(connection, 1, "key", "anna")
    assert await find_ticket(archive, annas) is not None
    assert await find_ticket(archive, keys) is None


@pytest.mark.parametrize("role", ["viewer", "service"])
async def test_a_keys_tickets_are_dead_when_it_is_revoked_those_of_its_last_moment_too(
    archive: Archive, principal: Principal, study: str, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    made = await make_key(archive, principal, WantedKey("ct-1", [role]))
    bearer = await archive.keys.principal(made.text)
    _, early = await give(archive, bearer, study)
    late: list[str] = []

    async def meanwhile(_: float) -> None:
        if not late:  # a process that still knows the key
            late.append((await give(archive, bearer, study))[1])

    monkeypatch.setattr("app.archive.api_keys.asyncio.sleep", meanwhile)
    await revoke_key(archive, principal, "ct-1")
    assert late
    for secret in (early, *late):
        assert await find_ticket(archive, secret) is None


@pytest.mark.parametrize("role", ["viewer", "service"])
async def test_a_ticket_is_over_with_the_key_that_made_it(
    archive: Archive, principal: Principal, study: str, role: str
) -> None:
    made = await make_key(archive, principal, WantedKey("ct-1", [role], days=1))
    bearer = await archive.keys.principal(made.text)
    await archive.index.fetch("UPDATE api_key SET expires_at = now() + interval '1 minute'")
    ticket, _ = await make_ticket(archive, bearer, study, 480, READING)
    assert (ticket.expires_at - ticket.made_at).total_seconds() <= 60
    of_user, _ = await make_ticket(archive, viewer("ct-1"), study, 480, READING)
    assert (of_user.expires_at - of_user.made_at).total_seconds() == 480 * 60


async def test_tickets_that_are_over_since_a_day_are_forgotten(
    archive: Archive, study: str
) -> None:
    await give(archive, viewer(), study)
    await archive.index.fetch("UPDATE ticket SET expires_at = now() - interval '25 hours'")
    await give(archive, viewer(), study)
    (row,) = await archive.index.fetch("SELECT count(*) FROM ticket")
    assert row[0] == 1
