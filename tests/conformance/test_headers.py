"""What browsers are told by every operation of the contract, and by every page.

The operations are those of `access_matrix.md`, asked by who may do all and by who may do nothing.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conformance import test_access_matrix as matrix
from tests.conformance.access import CHANGES, READS, Callers, World, ask, make_all, prepare

__all__ = ["app", "callers", "client", "standin"]
app, callers, client, standin = matrix.app, matrix.callers, matrix.client, matrix.standin
FRAMED = "; sandbox; frame-ancestors 'self' "
CLOSED = "default-src 'none'; sandbox; frame-ancestors 'none'"
POLICIES = {"image/": FRAMED, "video/": FRAMED, "application/pdf": "frame-ancestors 'self' "}
"""What has to stand in the policy of a media type; all others are closed."""
PAGES = ("/", "/docs", "/login", "/static/page.css", "/nothing", "/static/nothing")
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-site",
}


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("removal", "leases", "tickets", "api_keys"):
        monkeypatch.setattr(f"app.archive.{module}.LEASE_SECONDS", 0)


def missing(answer: httpx.Response) -> list[str]:
    """Say which headers an answer lacks, or has twice."""
    headers = answer.headers
    wrong = [
        name
        for name, value in ALWAYS.items()
        if headers.get_list(name, split_commas=False) != [value]
    ]
    if "strict-transport-security" in headers:
        wrong.append("strict-transport-security over plain HTTP")
    if answer.is_error and "no-store" not in headers.get("cache-control", ""):
        wrong.append("cache-control")
    policies = headers.get_list("content-security-policy")
    if answer.status_code != 304 and not (len(policies) == 1 and _is_right(headers, policies[0])):
        wrong.append(f"content-security-policy: {policies}")
    return wrong


def _is_right(headers: Mapping[str, Any], policy: str) -> bool:
    if "unsafe-eval" in policy or "*;" in policy or "script-src 'unsafe-inline'" in policy:
        return False
    media_type = headers.get("content-type", "")
    expected = next((it for kind, it in POLICIES.items() if media_type.startswith(kind)), CLOSED)
    return expected in policy if media_type != "text/html; charset=utf-8" else _is_page(policy)


def _is_page(policy: str) -> bool:
    return policy.startswith("default-src 'none'; ") and "frame-ancestors 'none'" in policy


@pytest.mark.slow
async def test_every_read_tells_a_browser_what_it_may_do(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers
) -> None:
    await make_all(app.state.archive, callers.world)
    wrong, kinds = [], set()
    for row in READS:
        for caller in ("administrator", "none"):
            answer = await ask(client, row, caller, callers.world)
            kinds.add(answer.headers.get("content-type", "").partition(";")[0])
            wrong += [(row.method, row.path, caller, one) for one in missing(answer)]
    assert wrong == []
    assert {
        "image/jpeg",
        "multipart/related",
        "application/dicom+json",
        "application/json",
    } <= kinds


@pytest.mark.slow
async def test_every_change_tells_a_browser_what_it_may_do(
    app: FastAPI, client: httpx.AsyncClient, callers: Callers
) -> None:
    wrong = []
    for row in CHANGES:
        world = callers.world = World()
        await prepare(app.state.archive, row, world)
        for caller in ("none", "administrator"):
            answer = await ask(client, row, caller, world)
            wrong += [(row.method, row.path, caller, one) for one in missing(answer)]
    assert wrong == []


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_tells_a_browser_what_it_may_do(
    client: httpx.AsyncClient, path: str
) -> None:
    assert missing(await client.get(path)) == []


async def test_a_ticket_lets_pages_of_any_origin_embed(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/dicom-web/studies?ticket=frt_x")
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["referrer-policy"] == "no-referrer"
