"""`fileroom tenants`, and two institutions over HTTP that know nothing of each other."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app.archive import api_keys, local_users, overrides
from app.archive.context import open_archive
from app.cli.importing import OPERATOR
from app.cli.main import application
from app.errors import ArchiveError, Conflict, InvalidRequest, NotFound
from app.main import create_app
from app.rights import Role, Scope, principal_of
from app.settings import Auth, Settings
from app.web.acting import CALLING_AE
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

STUDIES = "/dicom-web/studies"
NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
PASSWORD = "a long password of theirs"


class Operator:
    """Runs commands on this test's archive, in this process."""

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(application, arguments)
        if isinstance(done.exception, ArchiveError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture
def operator(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    monkeypatch.setenv("FILEROOM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(api_keys, "LEASE_SECONDS", 0)
    monkeypatch.setattr(local_users, "LEASE_SECONDS", 0)
    return Operator()


def test_tenants_are_made_and_listed(operator: Operator) -> None:
    assert operator.run("tenants", "list") == "1: default; 0 Studies, 0 keys, 0 users\n"
    made = operator.run("tenants", "add", "north")
    assert "Tenant 2 is north" in made
    assert "fileroom keys create NAME --admin --tenant north" in made
    operator.run("tenants", "add", "south")
    operator.run("keys", "create", "chief", "--admin", "--tenant", "north")
    assert operator.run("tenants", "list").splitlines() == [
        "1: default; 0 Studies, 0 keys, 0 users",
        "2: north; 0 Studies, 1 keys, 0 users",
        "3: south; 0 Studies, 0 keys, 0 users",
    ]
    with pytest.raises(Conflict):
        operator.run("tenants", "add", "north")


@pytest.mark.parametrize("name", ["", "North", "a b", "-a", "a" * 64, "ä"])
def test_what_is_no_name_of_a_tenant_is_refused(operator: Operator, name: str) -> None:
    with pytest.raises(InvalidRequest):
        operator.run("tenants", "add", "--", name)


def test_of_a_tenant_that_is_none_nobody_is_let_in(operator: Operator) -> None:
    with pytest.raises(NotFound):
        operator.run("keys", "create", "chief", "--tenant", "nowhere")


def test_keys_users_and_rules_are_of_their_tenant(operator: Operator, tmp_path: Path) -> None:
    operator.run("tenants", "add", "north")
    (tmp_path / "password").write_text(PASSWORD)
    file, north = str(tmp_path / "password"), ("--tenant", "north")
    operator.run("keys", "create", "ct-1")
    operator.run("keys", "create", "ct-1", *north)  # the same name
    operator.run("users", "add", "anna", "--role", "viewer", "--password-file", file, *north)
    operator.run("label", "rules", "add", "echo", "--calling-ae", "ECHO1", *north)
    assert operator.run("users", "list") == "there are no users\n"
    assert operator.run("users", "list", *north).startswith("anna: viewer")
    assert operator.run("label", "rules", "list") == "there is no rule for labels\n"
    assert "ECHO1" in operator.run("label", "rules", "list", *north)
    operator.run("keys", "revoke", "ct-1")
    assert "revoked" in operator.run("keys", "list")
    assert "revoked" not in operator.run("keys", "list", *north)
    for step in (("disable",), ("remove",), ("change", "--role", "administrator")):
        with pytest.raises(NotFound):
            operator.run("users", *step, "anna")
    assert "(auditor)" in operator.run("users", "change", "anna", "--role", "auditor", *north)
    assert operator.run("users", "remove", "anna", *north) == "anna is no user any more\n"


def test_what_is_open_in_an_emergency_is_listed_and_ended(
    operator: Operator, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overrides, "LEASE_SECONDS", 0)
    assert operator.run("overrides", "list") == "nothing is open in an emergency\n"
    study = new_uid()
    settings = Settings(data_dir=tmp_path / "data").with_database(database_url)

    async def open_one() -> None:
        async with open_archive(settings.place()) as archive:
            await store(archive, OPERATOR, make_part10(StudyInstanceUID=study))
            roles, scope = [Role.VIEWER, Role.EMERGENCY], Scope(labels=frozenset({"hers"}))
            anna = principal_of("anna", "user", roles, scope)
            await overrides.break_glass(archive, anna, study, "nobody to ask", 600)

    asyncio.run(open_one())
    listed = operator.run("overrides", "list")
    assert listed.startswith(f"1: {study}, by anna (user), until ")
    assert listed.endswith(": nobody to ask\n")
    assert operator.run("overrides", "end", "1") == "Override 1 opens nothing any more\n"
    with pytest.raises(NotFound):
        operator.run("overrides", "end", "1")


def test_two_institutions_know_nothing_of_each_other(
    operator: Operator, tmp_path: Path, database_url: str
) -> None:
    """Studies, Patients, labels and their rules by AE, tickets, counts, the feed and the audit."""
    operator.run("tenants", "add", "north")
    keys = {}
    for name, of in (("one", ()), ("two", ("--tenant", "north"))):
        keys[name] = operator.run("keys", "create", "chief", "--admin", *of).strip()
        keys[f"{name} bridge"] = operator.run(
            "keys", "create", "bridge", "--role", "service", *of
        ).strip()
    operator.run("label", "rules", "add", "hearts", "--calling-ae", "ECHO1", "--tenant", "north")
    settings = Settings(data_dir=tmp_path / "data", auth=Auth(keys=True))
    app = create_app(settings.with_database(database_url))
    asyncio.run(_two(app, keys))


async def _two(app: FastAPI, keys: dict[str, str]) -> None:
    names: dict[str, Any] = {name: new_uid() for name in NAMES}
    study = names["StudyInstanceUID"]
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        base = "http://127.0.0.1:8080"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:

            async def ask(who: str, method: str, path: str, **more: Any) -> httpx.Response:
                headers = {"Authorization": f"Bearer {keys[who]}", **more.pop("headers", {})}
                return await client.request(method, path, headers=headers, **more)

            for who in ("one", "two"):
                body = make_part10(**names, PatientID="4711", PatientName=who, StudyID=who)
                sent = {"Content-Type": "application/dicom", CALLING_AE: "ECHO1"}
                answer = await ask(f"{who} bridge", "POST", STUDIES, content=body, headers=sent)
                assert answer.status_code == 200, answer.text
            for who in ("one", "two"):
                (found,) = (await ask(who, "GET", f"{STUDIES}?PatientID=4711")).json()
                assert found["00200010"]["Value"] == [who]
                labels = await ask(who, "GET", f"/api/v1/studies/{study}/labels")
                assert labels.json()["labels"] == (["hearts"] if who == "two" else [])
                listed = (await ask(who, "GET", "/api/v1/keys")).json()["keys"]
                assert {one["name"] for one in listed} == {"chief", "bridge"}
            ticket = (await ask("two", "POST", "/api/v1/tickets", json={"study": study})).json()
            number = ticket["number"]
            assert (await ask("one", "GET", "/api/v1/tickets")).json()["tickets"] == []
            assert (await ask("one", "DELETE", f"/api/v1/tickets/{number}")).status_code == 404
            keys["ticket"] = ticket["ticket"]
            metadata = f"{STUDIES}/{study}/metadata"
            (seen,) = (await ask("ticket", "GET", metadata)).json()
            assert seen["00200010"]["Value"] == ["two"]
            feed = (await ask("one", "GET", "/api/v1/changes")).text
            assert "ticket-made" not in feed
            assert "labelled" not in feed
            audit = f"/api/v1/audit?study={study}"
            assert '"by":"ticket"' not in (await ask("one", "GET", audit)).text
            assert '"by":"ticket"' in (await ask("two", "GET", audit)).text
            assert (await ask("two", "DELETE", f"{STUDIES}/{study}")).status_code == 204
            assert (await ask("one", "GET", metadata)).status_code == 200
            assert (await ask("two", "GET", metadata)).status_code == 410
