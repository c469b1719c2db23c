"""Logging in at a provider: what is asked, and what the browser brings back."""

import base64
import hashlib
from typing import Any

import pytest

from tests.admin.login.conftest import HERE, Visited, begin, give, kept, log_in
from tests.web.oidc.standin import Provider


async def test_a_login_at_the_provider_begins_a_session(served: Visited, standin: Provider) -> None:
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


async def test_the_challenge_is_that_of_the_verifier(served: Visited, standin: Provider) -> None:
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


@pytest.mark.parametrize(
    ("base", "headers"),
    [
        ("http://pacs.example", {}),
        (HERE, {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "http"}),
        (HERE, {"Via": "1.1 proxy"}),
    ],
)
async def test_nobody_logs_in_over_the_network_in_the_clear(
    serving: Any, base: str, headers: dict[str, str]
) -> None:
    async with serving(base) as served:
        answer = await served.browser.get("/login", headers=headers)
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
    served: Visited, standin: Provider
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


async def test_another_browser_cannot_end_a_login(served: Visited, standin: Provider) -> None:
    back = give(standin, await begin(served))
    served.browser.cookies.clear()
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401
    served.browser.cookies.set("fileroom-login", "a.b.c.%%%", domain="127.0.0.1")
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401
    assert standin.forms == []


async def test_a_login_ends_once(served: Visited, standin: Provider) -> None:
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
    served: Visited, standin: Provider
) -> None:
    for claims in NOT_OURS:
        assert (await log_in(served, standin, **claims)).status_code == 401, claims
    assert await kept(served) == []


async def test_an_id_token_may_name_others_if_it_is_ours(
    served: Visited, standin: Provider
) -> None:
    for audience in ("us", ["us", "other"]):
        answer = await log_in(served, standin, aud=audience, azp="us")
        assert answer.status_code == 303


async def test_whom_the_provider_gives_no_role_is_told_so(
    served: Visited, standin: Provider
) -> None:
    answer = await log_in(served, standin, roles=[])
    assert answer.status_code == 403
    assert "no role in this archive" in answer.text


@pytest.mark.parametrize(("subject", "status"), [("user-1", 303), ("user-2", 403)])
async def test_roles_may_stand_in_the_access_token_alone(
    served: Visited, standin: Provider, subject: str, status: int
) -> None:
    back = give(standin, await begin(served), roles=None)
    standin.tokens["code-1"]["access_token"] = standin.token(sub=subject)
    answer = await served.browser.get("/auth/callback", params=back)
    assert answer.status_code == status


async def test_an_access_token_that_is_none_of_ours_gives_no_role(
    served: Visited, standin: Provider
) -> None:
    back = give(standin, await begin(served), roles=None)
    standin.tokens["code-1"]["access_token"] = standin.token(aud="other")
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 403


async def test_an_answer_without_an_id_token_logs_nobody_in(
    served: Visited, standin: Provider
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


async def test_a_provider_that_names_itself_has_to(served: Visited, standin: Provider) -> None:
    standin.document["authorization_response_iss_parameter_supported"] = True
    back = give(standin, await begin(served))
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 401
    back = {**give(standin, await begin(served)), "iss": standin.issuer}
    assert (await served.browser.get("/auth/callback", params=back)).status_code == 303


async def test_while_the_provider_is_dead_the_page_says_so(
    served: Visited, standin: Provider
) -> None:
    standin.answers["/.well-known/openid-configuration"] = (500, b"")
    answer = await served.browser.get("/login")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


async def test_a_provider_without_a_place_to_log_in_is_told_of(
    served: Visited, standin: Provider
) -> None:
    standin.document["authorization_endpoint"] = "http://elsewhere.example/"
    assert (await served.browser.get("/login")).status_code == 503
