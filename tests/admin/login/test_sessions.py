"""Sessions in a browser: begun, used, idle, over; and what pages of others can do with them."""

import re
from typing import Any

import pytest

from app.admin.login import SignIn
from app.archive.labels import label_study
from app.archive.local_users import (
    add_user,
    change_user,
    disable_user,
    remove_user,
    set_password,
)
from app.rights import Principal
from tests.admin.login.conftest import HERE, SAME, Visited, kept, log_in
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.web.oidc.standin import Provider

PASSWORD = "a right and long password"
FORM = {"name": "anna", "password": PASSWORD, "next": "/docs"}
ROOT = Principal("test")


async def test_each_login_has_a_session_of_its_own_and_ends_the_one_before(
    served: Visited, standin: Provider
) -> None:
    await log_in(served, standin)
    first = served.browser.cookies["fileroom"]
    await log_in(served, standin, sub="user-2")
    assert served.browser.cookies["fileroom"] != first
    assert await kept(served) == [("user-1", "user", True), ("user-2", "user", False)]


async def test_a_logout_ends_the_session_for_good(served: Visited, standin: Provider) -> None:
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
    served: Visited, standin: Provider
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
    served: Visited, standin: Provider
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
async def local(served: Visited) -> Visited:
    """The application, where users log in by password."""
    served.app.state.sign_in = SignIn(None, 3600)
    await add_user(served.app.state.archive, ROOT, "anna", PASSWORD, ["viewer"])
    return served


async def test_a_login_by_password_begins_a_session(local: Visited) -> None:
    page = await local.browser.get("/login", params={"next": '/x?"><script>'})
    assert 'type="password"' in page.text
    assert "<script" not in page.text
    answer = await local.browser.post("/login", data=FORM, headers=SAME)
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    assert (await local.browser.get("/dicom-web/studies")).status_code == 204
    assert await kept(local) == [("anna", "user", False)]


async def test_a_wrong_password_logs_nobody_in(
    local: Visited, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**FORM, "password": "wr0ng-secret"}
    answer = await local.browser.post("/login", data=wrong, headers=SAME)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "wr0ng-secret" not in answer.text + caplog.text
    assert re.search(r'name="next" value="/docs"', answer.text)


async def test_who_guesses_has_to_wait(local: Visited) -> None:
    wrong = {**FORM, "password": "a wrong and long password"}
    for status in [401] * 5 + [429]:
        answer = await local.browser.post("/login", data=wrong, headers=SAME)
        assert answer.status_code == status
        assert 'type="password"' in answer.text


@pytest.mark.parametrize("how", ["disabled", "another password", "changed", "removed"])
async def test_sessions_and_tickets_of_a_user_end_with_the_users_rights(
    local: Visited, how: str
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
    elif how == "changed":
        await change_user(archive, ROOT, "anna", labels=["hers"])
    elif how == "removed":
        await remove_user(archive, ROOT, "anna")
    else:
        await set_password(archive, ROOT, "anna", PASSWORD + "!")
    for headers in ({}, ticket):
        assert (await local.browser.get(path, headers=headers)).status_code == 401


async def test_who_was_changed_logs_in_again_and_gives_on_no_more_than_that(local: Visited) -> None:
    archive = local.app.state.archive
    studies = {label: new_uid() for label in ("hers", "his")}
    for label, study in studies.items():
        await store(archive, ROOT, make_part10(StudyInstanceUID=study))
        await label_study(archive, ROOT, study, [label])
    await local.browser.post("/login", data=FORM, headers=SAME)
    await change_user(archive, ROOT, "anna", labels=["hers"])
    assert (await local.browser.get("/dicom-web/studies")).status_code == 401
    await local.browser.post("/login", data=FORM, headers=SAME)
    found = (await local.browser.get("/dicom-web/studies")).json()
    assert [one["0020000D"]["Value"] for one in found] == [[studies["hers"]]]
    for label, status in (("hers", 201), ("his", 404)):
        asked = {"study": studies[label]}
        made = await local.browser.post("/api/v1/tickets", json=asked, headers=SAME)
        assert made.status_code == status, label


async def test_nobody_is_logged_in_by_a_page_of_somebody_else(local: Visited) -> None:
    for headers in ELSEWHERE:
        answer = await local.browser.post("/login", data=FORM, headers=headers)
        assert answer.status_code == 403, headers
    assert await kept(local) == []


async def test_a_form_that_is_too_long_is_refused(local: Visited) -> None:
    form = {**FORM, "more": "x" * 9000}
    assert (await local.browser.post("/login", data=form, headers=SAME)).status_code == 413


async def test_where_nobody_can_log_in_there_are_no_such_pages(served: Visited) -> None:
    served.app.state.sign_in = None
    for method, path in (
        ("GET", "/login"), ("POST", "/login"), ("GET", "/logout"), ("POST", "/logout"),
    ):  # fmt: skip
        assert (await served.browser.request(method, path, headers=SAME)).status_code == 404
    assert (await served.browser.get("/auth/callback")).status_code == 404
    assert (await served.browser.get("/")).status_code == 200


async def test_where_a_provider_is_no_password_is_taken_and_the_other_way_round(
    served: Visited,
) -> None:
    assert (await served.browser.post("/login", data=FORM, headers=SAME)).status_code == 404
    served.app.state.sign_in = SignIn(None, 3600)
    assert (await served.browser.get("/auth/callback")).status_code == 404


async def test_a_cookie_that_is_none_opens_nothing(served: Visited) -> None:
    for cookie in ("fileroom=", "fileroom=x", "fileroom=a; fileroom=b", f"fileroom={'x' * 5000}"):
        answer = await served.browser.get("/dicom-web/studies", headers={"Cookie": cookie})
        assert answer.status_code == 401


async def test_a_token_of_the_provider_opens_the_api(served: Visited, standin: Provider) -> None:
    bearer = {"Authorization": f"Bearer {standin.token()}"}
    assert (await served.browser.get("/dicom-web/studies", headers=bearer)).status_code == 204
    denied = await served.browser.delete("/dicom-web/studies/1.2.3", headers=bearer)
    assert denied.status_code == 403
    bad = {"Authorization": f"Bearer {standin.token(aud='other')}"}
    answer = await served.browser.get("/dicom-web/studies", headers=bad)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
