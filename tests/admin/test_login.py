"""Logging in and out in a browser, at a provider and by password, and what its cookie may do."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI

from app.admin.login import SignIn
from app.archive.context import Archive
from app.archive.local_users import add_user, disable_user, set_password
from app.main import create_app
from app.rights import Principal
from app.setting_groups import Oidc
from app.settings import Auth, Http, Settings
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.web.oidc.standin import Provider, provider_running

HERE = "http://127.0.0.1:8080"
SAME = {"Origin": HERE}
PASSWORD = "a right and long password"
FORM = {"name": "anna", "password": PASSWORD, "next": "/docs"}
ROOT = Principal("test")


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sessions", "tickets", "local_users"):
        monkeypatch.setattr(f"app.archive.{name}.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.0,))


@pytest.fixture
def standin() -> Iterator[Provider]:
    """A provider of its own for the test."""
    with provider_running() as provider:
        yield provider


class Served:
    """The application, and a browser (a client with cookies) at it."""

    def __init__(self, app: FastAPI, base: str) -> None:
        self.app = app
        transport = httpx.ASGITransport(app)
        self.browser = httpx.AsyncClient(transport=transport, base_url=base)

    async def end(self) -> None:
        """Close the browser."""
        await self.browser.aclose()


@pytest.fixture
def serving(database_url: str, tmp_path: Path, standin: Provider) -> Any:
    """Return a maker of applications: `async with serving(...) as served`."""

    @asynccontextmanager
    async def make(
        base: str = HERE, public_url: str | None = None, idle: float = 1800, **oidc: Any
    ) -> AsyncIterator[Served]:
        given = {"issuer": standin.issuer, "client_id": "us", "audience": ("fileroom",), **oidc}
        auth = Auth(oidc=Oidc(**given), session_idle_seconds=idle)
        settings = Settings(data_dir=tmp_path, auth=auth, http=Http(public_url=public_url))
        app = create_app(settings.with_database(database_url))
        async with app.router.lifespan_context(app):
            served = Served(app, base)
            yield served
            await served.end()

    return make


@pytest.fixture
async def served(serving: Any) -> AsyncIterator[Served]:
    """The application with the provider, on this machine."""
    async with serving() as it:
        yield it


async def begin(served: Served, then: str = "/docs") -> dict[str, str]:
    """Begin a login; return what the browser is to ask the provider."""
    answer = await served.browser.get("/login", params={"next": then})
    assert answer.status_code == 303
    place = urlsplit(answer.headers["location"])
    return {name: values[0] for name, values in parse_qs(place.query).items()}


def give(standin: Provider, asked: dict[str, str], **claims: Any) -> dict[str, str]:
    """Have the provider log somebody in; return what the browser brings back."""
    now = {"aud": "us", "nonce": asked["nonce"], "name": "Anna", **claims}
    standin.tokens["code-1"] = {"id_token": standin.token(**now), "access_token": "opaque"}
    return {"code": "code-1", "state": asked["state"]}


async def log_in(served: Served, standin: Provider, **claims: Any) -> httpx.Response:
    """Log somebody in at the provider."""
    back = give(standin, await begin(served), **claims)
    return await served.browser.get("/auth/callback", params=back)


async def test_a_login_at_the_provider_begins_a_session(served: Served, standin: Provider) -> None:
    stranger = await served.browser.get("/")
    assert (stranger.status_code, stranger.headers["location"]) == (303, "/login?next=/")
    assert (await served.browser.get("/dicom-web/studies")).status_code == 401
    asked = await begin(served)
    assert asked["redirect_uri"] == f"{HERE}/auth/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["scope"] == "openid profile email"
    answer = await served.browser.get("/auth/callback", params=give(standin, asked))
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    cookie = next(it for it in answer.headers.get_list("set-cookie") if it.startswith("fileroom="))
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert (await served.browser.get("/dicom-web/studies")).status_code == 204
    page = await served.browser.get("/")
    assert "user-1" in page.text
    assert 'href="/logout"' in page.text
    (form,) = standin.forms
    assert form["grant_type"] == "authorization_code"
    assert (form["client_id"], form["redirect_uri"]) == ("us", asked["redirect_uri"])
    assert len(form["code_verifier"]) == 43
    assert await kept(served) == [("user-1", "user", False)]


async def kept(served: Served) -> list[tuple[str, str, bool]]:
    """Return the sessions of the index: whose, of which kind, and whether they are over."""
    archive: Archive = served.app.state.archive
    rows = await archive.index.fetch(
        "SELECT name, kind, ended_at IS NOT NULL FROM web_session ORDER BY created_at"
    )
    return [tuple(row) for row in rows]


async def test_the_challenge_is_that_of_the_verifier(served: Served, standin: Provider) -> None:
    asked = await begin(served)
    await served.browser.get("/auth/callback", params=give(standin, asked))
    digest = hashlib.sha256(standin.forms[0]["code_verifier"].encode()).digest()
    assert asked["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def test_over_https_the_cookie_is_of_this_host_and_the_plain_one_counts_for_nothing(
    serving: Any, standin: Provider
) -> None:
    async with serving("https://pacs.example", "https://pacs.example") as served:
        answer = await log_in(served, standin)
        cookies = answer.headers.get_list("set-cookie")
        (cookie,) = [it for it in cookies if it.startswith("__Host-fileroom=")]
        assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
        value = cookie.partition("=")[2].partition(";")[0]
        served.browser.cookies.clear()
        for name, status in (("fileroom", 401), ("__Host-fileroom", 204)):
            headers = {"Cookie": f"{name}={value}"}
            answer = await served.browser.get("/dicom-web/studies", headers=headers)
            assert answer.status_code == status


async def test_nobody_logs_in_over_the_network_in_the_clear(serving: Any) -> None:
    async with serving("http://pacs.example") as served:
        answer = await served.browser.get("/login")
        assert answer.status_code == 403
        assert "FILEROOM_HTTP__PUBLIC_URL" in answer.text


CHANGED: tuple[dict[str, Any], ...] = (
    {"state": "other"},
    {"state": None},
    {"code": None},
    {"code": "unknown"},
    {"error": "access_denied", "error_description": "<script>"},
    {"iss": "https://evil.example"},
    {"code": ["code-1", "code-1"]},
)


async def test_what_the_browser_brings_back_has_to_be_of_its_login(
    served: Served, standin: Provider
) -> None:
    for change in CHANGED:
        back = {**give(standin, await begin(served)), **change}
        params = {name: value for name, value in back.items() if value is not None}
        answer = await served.browser.get("/auth/callback", params=params)
        assert answer.status_code == 401, change
        assert "Not logged in" in answer.text
        assert "<script" not in answer.text
        assert "form-action 'self'" in answer.headers["content-security-policy"]
    assert await kept(served) == []


async def test_another_browser_cannot_end_a_login(served: Served, standin: Provider) -> None:
    back = give(standin, await begin(served))
    served.browser.cookies.clear()
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401
    served.browser.cookies.set("fileroom-login", "a.b.c.%%%", domain="127.0.0.1")
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401
    assert standin.forms == []


async def test_a_login_ends_once(served: Served, standin: Provider) -> None:
    back = give(standin, await begin(served))
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 303
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401


NOT_OURS: tuple[dict[str, Any], ...] = (
    {"nonce": "other"},
    {"nonce": None},
    {"aud": "other"},
    {"aud": ["us", "other"]},
    {"azp": "other"},
    {"iss": "https://evil.example"},
    {"exp": 1},
)


async def test_an_id_token_of_another_login_client_or_issuer_is_refused(
    served: Served, standin: Provider
) -> None:
    for claims in NOT_OURS:
        assert (await log_in(served, standin, **claims)).status_code == 401, claims
    assert await kept(served) == []


async def test_an_id_token_may_name_others_if_it_is_ours(served: Served, standin: Provider) -> None:
    for claims in ({"aud": ["us", "other"], "azp": "us"}, {"azp": "us"}):
        assert (await log_in(served, standin, **claims)).status_code == 303


async def test_whom_the_provider_gives_no_role_is_told_so(
    served: Served, standin: Provider
) -> None:
    answer = await log_in(served, standin, roles=[])
    assert answer.status_code == 403
    assert "no role in this archive" in answer.text


@pytest.mark.parametrize(("subject", "status"), [("user-1", 303), ("user-2", 403)])
async def test_roles_may_stand_in_the_access_token_alone(
    served: Served, standin: Provider, subject: str, status: int
) -> None:
    back = give(standin, await begin(served), roles=None)
    standin.tokens["code-1"]["access_token"] = standin.token(sub=subject)
    answer = await served.browser.get("/auth/callback", params=back)
    assert answer.status_code == status


async def test_an_access_token_that_is_none_of_ours_gives_no_role(
    served: Served, standin: Provider
) -> None:
    back = give(standin, await begin(served), roles=None)
    standin.tokens["code-1"]["access_token"] = standin.token(aud="other")
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 403


async def test_an_answer_without_an_id_token_logs_nobody_in(
    served: Served, standin: Provider
) -> None:
    back = give(standin, await begin(served))
    del standin.tokens["code-1"]["id_token"]
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401


@pytest.mark.parametrize("ways", [["client_secret_basic"], ["client_secret_post"]])
async def test_a_client_with_a_secret_shows_it_as_the_provider_takes_it(
    serving: Any, standin: Provider, ways: list[str]
) -> None:
    standin.document["token_endpoint_auth_methods_supported"] = ways
    async with serving(client_secret="se cret") as served:
        assert (await log_in(served, standin)).status_code == 303
    if ways == ["client_secret_basic"]:
        assert standin.authorizations == ["Basic dXM6c2UlMjBjcmV0"]  # us:se%20cret
        assert "client_secret" not in standin.forms[0]
    else:
        assert standin.forms[0]["client_secret"] == "se cret"


async def test_a_provider_that_names_itself_has_to(served: Served, standin: Provider) -> None:
    standin.document["authorization_response_iss_parameter_supported"] = True
    back = give(standin, await begin(served))
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401
    back = {**give(standin, await begin(served)), "iss": standin.issuer}
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 303


async def test_while_the_provider_is_dead_the_page_says_so(
    served: Served, standin: Provider
) -> None:
    standin.answers["/.well-known/openid-configuration"] = (500, b"")
    answer = await served.browser.get("/login")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


async def test_a_provider_without_a_place_to_log_in_is_told_of(
    served: Served, standin: Provider
) -> None:
    standin.document["authorization_endpoint"] = "http://elsewhere.example/"
    assert (await served.browser.get("/login")).status_code == 503


async def test_each_login_has_a_session_of_its_own_and_ends_the_one_before(
    served: Served, standin: Provider
) -> None:
    await log_in(served, standin)
    first = served.browser.cookies["fileroom"]
    await log_in(served, standin, sub="user-2")
    assert served.browser.cookies["fileroom"] != first
    assert await kept(served) == [("user-1", "user", True), ("user-2", "user", False)]


async def test_a_logout_ends_the_session_for_good(served: Served, standin: Provider) -> None:
    standin.document["end_session_endpoint"] = f"{standin.issuer}/logout"
    await log_in(served, standin)
    cookie = {"Cookie": f"fileroom={served.browser.cookies['fileroom']}"}
    assert "<button>Log out</button>" in (await served.browser.get("/logout")).text
    answer = await served.browser.post("/logout", headers=SAME)
    assert answer.status_code == 200
    assert f"{standin.issuer}/logout" in answer.text
    assert "fileroom" not in served.browser.cookies
    for headers in ({}, cookie):
        answer = await served.browser.get("/dicom-web/studies", headers=headers)
        assert answer.status_code == 401
    assert (await served.browser.post("/logout", headers=SAME)).status_code == 200


ELSEWHERE: list[dict[str, str]] = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Origin": HERE, "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "none"},
]


async def test_a_page_of_somebody_else_changes_nothing_with_the_cookie(
    served: Served, standin: Provider
) -> None:
    await log_in(served, standin, roles=["administrator"])
    for headers in ELSEWHERE:
        for method, path in (
            ("DELETE", "/dicom-web/studies/1.2.3"),
            ("POST", "/dicom-web/studies"),
            ("POST", "/api/v1/tickets"),
            ("PUT", "/api/v1/studies/1.2.3/labels/a"),
            ("POST", "/logout"),
        ):
            answer = await served.browser.request(method, path, headers=headers)
            assert answer.status_code == 403, (path, headers)
        read = await served.browser.get("/dicom-web/studies", headers=headers)
        assert read.status_code == 204
        assert "access-control-allow-credentials" not in read.headers


async def test_a_page_of_ours_may_change_what_its_user_may(
    served: Served, standin: Provider
) -> None:
    await log_in(served, standin, roles=["administrator"])
    for headers in (SAME, {"Sec-Fetch-Site": "same-origin"}):
        answer = await served.browser.delete("/dicom-web/studies/1.2.3", headers=headers)
        assert answer.status_code == 404


async def test_a_session_is_over_when_it_was_idle_or_its_time_is_up(
    serving: Any, standin: Provider
) -> None:
    async with serving(idle=600) as served:
        index = served.app.state.archive.index
        for change in (
            "last_seen_at = now() - interval '11 minutes'",
            "expires_at = now()",
            "ended_at = now()",
        ):
            await log_in(served, standin)
            await index.fetch("UPDATE web_session SET last_seen_at = now() - interval '9 minutes'")
            assert (await served.browser.get("/dicom-web/studies")).status_code == 204
            (row,) = await index.fetch(
                "SELECT max(last_seen_at) > now() - interval '1 minute' FROM web_session"
            )
            assert row[0]
            await index.fetch(f"UPDATE web_session SET {change}")  # noqa: S608
            assert (await served.browser.get("/dicom-web/studies")).status_code == 401
            assert (await served.browser.get("/")).headers["location"] == "/login?next=/"


@pytest.fixture
async def local(served: Served) -> Served:
    """The application, where users log in by password."""
    served.app.state.sign_in = SignIn(None, 3600)
    await add_user(served.app.state.archive, ROOT, "anna", PASSWORD, ["viewer"])
    return served


async def test_a_login_by_password_begins_a_session(local: Served) -> None:
    page = await local.browser.get("/login", params={"next": '/x?"><script>'})
    assert 'type="password"' in page.text
    assert "<script" not in page.text
    answer = await local.browser.post("/login", data=FORM, headers=SAME)
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    assert (await local.browser.get("/dicom-web/studies")).status_code == 204
    assert await kept(local) == [("anna", "user", False)]


async def test_a_wrong_password_logs_nobody_in(
    local: Served, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**FORM, "password": "wr0ng-secret"}
    answer = await local.browser.post("/login", data=wrong, headers=SAME)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "wr0ng-secret" not in answer.text + caplog.text
    assert re.search(r'name="next" value="/docs"', answer.text)


async def test_who_guesses_has_to_wait(local: Served) -> None:
    wrong = {**FORM, "password": "a wrong and long password"}
    for status in [401] * 5 + [429]:
        answer = await local.browser.post("/login", data=wrong, headers=SAME)
        assert answer.status_code == status
        assert 'type="password"' in answer.text


@pytest.mark.parametrize("how", ["disabled", "another password"])
async def test_sessions_and_tickets_of_a_user_end_with_the_users_rights(
    local: Served, how: str
) -> None:
    archive = local.app.state.archive
    await store(archive, ROOT, make_part10(StudyInstanceUID=(study := new_uid())))
    await local.browser.post("/login", data=FORM, headers=SAME)
    made = await local.browser.post("/api/v1/tickets", json={"study": study}, headers=SAME)
    ticket = {"Authorization": f"Bearer {made.json()['ticket']}"}
    for headers in ({}, ticket):
        path = f"/dicom-web/studies/{study}/metadata"
        assert (await local.browser.get(path, headers=headers)).status_code == 200
    if how == "disabled":
        await disable_user(archive, ROOT, "anna")
    else:
        await set_password(archive, ROOT, "anna", PASSWORD + "!")
    for headers in ({}, ticket):
        assert (await local.browser.get(path, headers=headers)).status_code == 401


async def test_nobody_is_logged_in_by_a_page_of_somebody_else(local: Served) -> None:
    for headers in ELSEWHERE:
        answer = await local.browser.post("/login", data=FORM, headers=headers)
        assert answer.status_code == 403, headers
    assert await kept(local) == []


async def test_a_form_that_is_too_long_is_refused(local: Served) -> None:
    form = {**FORM, "more": "x" * 9000}
    assert (await local.browser.post("/login", data=form, headers=SAME)).status_code == 413


async def test_where_nobody_can_log_in_there_are_no_such_pages(served: Served) -> None:
    served.app.state.sign_in = None
    for method, path in (
        ("GET", "/login"), ("POST", "/login"), ("GET", "/logout"), ("POST", "/logout"),
    ):  # fmt: skip
        assert (await served.browser.request(method, path, headers=SAME)).status_code == 404
    assert (await served.browser.get("/auth/callback")).status_code == 404
    assert (await served.browser.get("/")).status_code == 200


async def test_where_a_provider_is_no_password_is_taken_and_the_other_way_round(
    served: Served,
) -> None:
    assert (await served.browser.post("/login", data=FORM, headers=SAME)).status_code == 404
    served.app.state.sign_in = SignIn(None, 3600)
    assert (await served.browser.get("/auth/callback")).status_code == 404


async def test_a_cookie_that_is_none_opens_nothing(served: Served) -> None:
    for cookie in ("fileroom=", "fileroom=x", "fileroom=a; fileroom=b", f"fileroom={'x' * 5000}"):
        answer = await served.browser.get("/dicom-web/studies", headers={"Cookie": cookie})
        assert answer.status_code == 401


async def test_a_token_of_the_provider_opens_the_api(served: Served, standin: Provider) -> None:
    bearer = {"Authorization": f"Bearer {standin.token()}"}
    assert (await served.browser.get("/dicom-web/studies", headers=bearer)).status_code == 204
    denied = await served.browser.delete("/dicom-web/studies/1.2.3", headers=bearer)
    assert denied.status_code == 403
    bad = {"Authorization": f"Bearer {standin.token(aud='other')}"}
    answer = await served.browser.get("/dicom-web/studies", headers=bad)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
