"""Who may do what: each operation of the contract, asked by each kind of caller.

What is expected is a table for people, `access_matrix.md`. Callers are put into the application's
chain of sources, as keys, users and tokens are. What a caller may not see has to be answered byte
for byte as what does not exist.
"""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.archive.api_keys import WantedKey, make_key, revoke_key
from app.archive.context import Archive
from app.archive.holds import hold_study
from app.archive.removal import delete, reject
from app.archive.sessions import begin_session, end_session
from app.archive.tickets import make_ticket, revoke_ticket
from app.dicom.non_patient import CATEGORIES
from app.dicom.uids import StudyRef
from app.main import create_app
from app.rights import Verb
from app.setting_groups import Oidc
from app.settings import Auth, Settings
from app.web.auth import Identity
from app.web.overrides import Overriding
from tests.conformance.access import (
    CHANGES,
    HIDDEN,
    NARROW,
    OPERATOR,
    READS,
    ROWS,
    Callers,
    World,
    ask,
    content,
    make_all,
    make_study,
    prepare,
    seen,
    twin,
)
from tests.web.oidc.standin import Provider as Standin
from tests.web.oidc.standin import provider_running
from tests.web.oidc.test_tokens import FORGED

FORGERIES = (
    *("alg none", "no signature", "key confusion", "an algorithm that is not listed"),
    *("another key under the same id", "an unknown key", "a key that it brings"),
    *("claims changed", "another issuer", "another audience", "expired"),
)


@pytest.fixture
def standin() -> Iterator[Standin]:
    with provider_running() as provider:
        yield provider


@pytest.fixture
async def app(database_url: str, tmp_path: Path, standin: Standin) -> AsyncIterator[FastAPI]:
    auth = Auth(keys=True, oidc=Oidc(issuer=standin.issuer, audience=("fileroom",)))
    app = create_app(Settings(data_dir=tmp_path, auth=auth).with_database(database_url))
    async with app.router.lifespan_context(app):
        async with app.state.archive.index.writing() as connection:
            await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
        yield app


@pytest.fixture
def callers(app: FastAPI) -> Callers:
    source, known = Callers(), app.state.identity
    identity = Identity((source, *known.sources), challenges=known.challenges)
    app.state.identity = Overriding(identity, app.state, "/dicom-web")
    return source


@pytest.fixture
async def client(app: FastAPI, callers: Callers) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield client


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("removal", "leases", "tickets", "api_keys", "overrides", "sessions"):
        monkeypatch.setattr(f"app.archive.{module}.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.0,))


def operations(app: FastAPI) -> set[tuple[str, str]]:
    """Return method and path of all that the contract offers, categories as one."""
    kinds = "|".join(map(re.escape, CATEGORIES))
    return {
        (method.upper(), re.sub(rf"^/dicom-web/({kinds})(?=/|$)", "/dicom-web/{category}", path))
        for path, item in app.openapi()["paths"].items()
        for method in item
    }


def test_every_operation_of_the_contract_has_its_row(tmp_path: Path) -> None:
    offered = operations(create_app(Settings(data_dir=tmp_path)))
    assert {row.operation for row in ROWS} == offered


@pytest.mark.slow
async def test_who_reads_what_is_as_the_table_says(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers
) -> None:
    world = callers.world
    await make_all(app.state.archive, world)
    differing = []
    for row in READS:
        for caller, status in row.expected.items():
            if caller == "refused":  # of which there are many: below
                continue
            answer = await ask(client, row, caller, world)
            if answer.status_code != status:
                differing.append((row.method, row.path, caller, status, answer.status_code))
            if caller in HIDDEN and "{study}" not in row.path and "{instance}" not in row.path:
                text = repr(seen(answer, World(study="-", series="-", instance="-")))
                assert not [name for name in world.names() if name in text], (row.path, caller)
    assert differing == []


@pytest.mark.slow
async def test_who_changes_what_is_as_the_table_says(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers
) -> None:
    differing = []
    for row in CHANGES:
        world: World | None = None
        for caller, status in row.expected.items():
            if caller == "refused":
                continue
            if world is None:
                world = callers.world = World()
                await prepare(app.state.archive, row, world)
            answer = await ask(client, row, caller, world)
            if answer.status_code != status:
                differing.append((row.method, row.path, caller, status, answer.status_code))
            if answer.is_success:
                world = None
    assert differing == []


async def make_refused(
    archive: Archive, client: httpx.AsyncClient, world: World, standin: Standin
) -> dict[str, dict[str, str]]:
    """Return what refused callers show: each was good, but for what is forged."""
    names = ("expired", "revoked")
    keys = {
        name: await make_key(archive, OPERATOR, WantedKey(name, ["administrator"]))
        for name in names
    }
    allowed = {Verb.VIEW, Verb.SEARCH}
    tickets = {
        name: await make_ticket(archive, OPERATOR, world.study, 5, allowed) for name in names
    }
    sessions = {name: await begin_session(archive, OPERATOR, 60) for name in names}
    good = {
        **{f"{name} key": _bearer(key.text) for name, key in keys.items()},
        **{f"{name} ticket": _bearer(secret) for name, (_, secret) in tickets.items()},
        **{f"{name} session": _cookie(it) for name, it in sessions.items()},
    }
    for headers in (*good.values(), _bearer(standin.token())):
        assert (await client.get("/dicom-web/studies", headers=headers)).status_code == 200
    await revoke_key(archive, OPERATOR, "revoked")
    await revoke_ticket(archive, OPERATOR, tickets["revoked"][0].number)
    await end_session(archive, sessions["revoked"])
    async with archive.index.writing() as connection:
        for table in ("api_key", "ticket", "web_session"):
            await connection.execute(f"UPDATE {table} SET expires_at = now()")  # noqa: S608
    key = keys["revoked"].text
    return {
        **good,
        **{name: _bearer(FORGED[name](standin)) for name in FORGERIES},
        "forged key": _bearer(key[:-1] + ("0" if key[-1] != "0" else "1")),
        "forged ticket": _bearer("frt_" + "A" * 43),
        "forged session": _cookie("A" * 43),
        "nothing known": _bearer("x"),
    }


def _bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def _cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"fileroom={value}", "Origin": "http://127.0.0.1:8080"}


@pytest.mark.slow
async def test_what_is_expired_revoked_or_forged_opens_nothing_anywhere(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers, standin: Standin
) -> None:
    world = callers.world
    await make_all(app.state.archive, world)
    refused = await make_refused(app.state.archive, client, world, standin)
    differing = []
    for row in ROWS:
        for how, shown in refused.items():
            given = content(row, world)
            given["headers"] = {**given.get("headers", {}), **shown}
            answer = await client.request(row.method, row.path.format(**vars(world)), **given)
            offered = answer.headers.get("www-authenticate", "").startswith("Bearer")
            if answer.status_code != row.expected["refused"] or offered != answer.is_client_error:
                differing.append((row.method, row.path, how, answer.status_code))
            text = repr(seen(answer, World(study="-", series="-", instance="-")))
            assert not [one for one in world.names() if one in text], (row.path, how)
    assert differing == []


CONDITIONS: tuple[dict[str, str], ...] = (
    {},
    {"If-None-Match": "*"},
    {"If-Match": '"x"'},
    {"Range": "bytes=0-1"},
    {"Accept": "application/dicom+xml"},
)


@pytest.mark.parametrize("state", ["there", "deleted", "rejected", "held"])
@pytest.mark.slow
async def test_what_one_may_not_see_is_answered_as_what_does_not_exist(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers, state: str
) -> None:
    archive, world = app.state.archive, callers.world
    await make_study(archive, world)
    match state:
        case "deleted":
            await delete(archive, OPERATOR, StudyRef(world.study))
        case "rejected":
            await reject(archive, OPERATOR, StudyRef(world.study), "113001^DCM")
        case "held":
            await hold_study(archive, OPERATOR, world.study, "a case")
    unknown = twin(world)
    named = [row for row in ROWS if "{study}" in row.path or "{instance}" in row.path]
    asked = [row for row in named if row.method != "POST" or not row.path.endswith("/{study}")]
    assert len(asked) > 40
    for row in asked:
        gone = state in {"deleted", "rejected"} and row.method == "GET"
        for caller in (*HIDDEN, *NARROW) if gone else HIDDEN:
            for headers in CONDITIONS if row.method == "GET" else CONDITIONS[:2]:
                real = seen(await ask(client, row, caller, world, **headers), world)
                none = seen(await ask(client, row, caller, unknown, **headers), unknown)
                assert real == none, (row.method, row.path, caller, headers)


async def test_the_first_page_counts_what_the_caller_may_see(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers
) -> None:
    await make_study(app.state.archive, callers.world)

    async def page(caller: str) -> str:
        headers = {"Authorization": f"Bearer {caller}"}
        return (await client.get("/", headers=headers)).text

    assert "<dd>2</dd>" in await page("label")
    assert "<dd>2</dd>" not in await page("other_label")
    assert "Shown to callers" in await page("uploader")
    assert "--data-dir" in await page("administrator")
    assert "--data-dir" not in await page("label")
