"""Webhooks as operators keep them."""

from pathlib import Path

import pytest

from app.archive import webhooks
from app.archive.context import Archive
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unavailable
from app.index.events import Position, read_events
from app.rights import Principal, Verb
from tests.archive.test_rebuild import eventful
from tests.archive.test_store import store
from tests.factories import make_part10
from tests.receiver import receiving

URL = "https://ris.example.org/fileroom?token=hidden"
NOBODY = Principal("viewer", verbs=frozenset({Verb.SEARCH}))


async def test_webhooks_are_added_listed_enabled_and_removed(
    archive: Archive, principal: Principal
) -> None:
    await store(archive, principal, make_part10())
    made = await webhooks.add(archive, principal, URL, ["removed", "accepted", "removed"])
    assert made.kinds == ["accepted", "removed"]
    assert made.after > Position()
    assert made.secret not in repr(made)
    assert await webhooks.list_all(archive, principal) == [made]
    with pytest.raises(Conflict, match="is a webhook already"):
        await webhooks.add(archive, principal, URL, [])
    second = await webhooks.add(archive, principal, f"{URL}&second", [])
    await archive.index.fetch("UPDATE webhook SET disabled = '410 Gone'")
    await webhooks.enable(archive, principal, second.id)
    assert [hook.disabled for hook in await webhooks.list_all(archive, principal)] == [
        "410 Gone",
        "",
    ]
    await webhooks.remove(archive, principal, made.id)
    assert [hook.id for hook in await webhooks.list_all(archive, principal)] == [second.id]


async def test_a_webhook_of_an_empty_archive_begins_at_the_beginning(
    archive: Archive, principal: Principal
) -> None:
    assert (await webhooks.add(archive, principal, URL, [])).after == Position()


async def test_a_kind_that_is_none_is_refused_with_a_hint(
    archive: Archive, principal: Principal
) -> None:
    with pytest.raises(InvalidRequest, match="did you mean accepted"):
        await webhooks.add(archive, principal, URL, ["acepted"])
    with pytest.raises(InvalidRequest, match="they are accepted, removed"):
        await webhooks.add(archive, principal, URL, ["0"])


@pytest.mark.parametrize("what", ["enable", "remove", "try_out"])
async def test_a_webhook_that_is_not_there_is_not_found(
    archive: Archive, principal: Principal, what: str
) -> None:
    with pytest.raises(NotFound, match="Webhook 7 not found"):
        await getattr(webhooks, what)(archive, principal, 7)


@pytest.mark.parametrize("what", ["add", "list_all", "enable", "remove", "try_out"])
async def test_webhooks_are_for_administrators(archive: Archive, what: str) -> None:
    given: dict[str, tuple[object, ...]] = {"add": (URL, []), "list_all": ()}
    with pytest.raises(Forbidden):
        await getattr(webhooks, what)(archive, NOBODY, *given.get(what, (1,)))


async def test_a_webhook_is_tried_at_once(archive: Archive, principal: Principal) -> None:
    with receiving() as receiver:
        made = await webhooks.add(archive, principal, receiver.url, [], receiver.secret)
        receiver.answer = lambda _: (202, 0)
        assert await webhooks.try_out(archive, principal, made.id) == 202
    (call,) = receiver.calls
    assert call.genuine
    assert call.body["type"] == "test"
    with pytest.raises(Unavailable, match="could not be called"):
        await webhooks.try_out(archive, principal, made.id)


async def test_every_kind_of_the_log_can_be_asked_for(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    await eventful(archive, principal)
    logged = {event.kind for event in await read_events(archive.index, 1, Position(), 9999)}
    assert {"accepted", "committed", "labelled", "tag-chosen", "rule-deactivated"} <= logged
    assert logged <= set(webhooks.KINDS)


def test_every_kind_is_documented() -> None:
    page = Path("docs/webhooks.md").read_text()
    assert [kind for kind in webhooks.KINDS if f"`{kind}`" not in page] == []
