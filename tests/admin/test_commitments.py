"""What a bridge that was started anew has to tell of storage commitments."""

import httpx
import pytest

from app.archive import committing
from tests.admin.conftest import Served
from tests.admin.test_forwardings import call
from tests.archive.test_commitment import alone
from tests.dicom.test_commitment import named
from tests.factories import make_dataset, new_uid


async def request(client: httpx.AsyncClient, calling: str = "CT01", expected: int = 200) -> str:
    """Ask for storage commitment for an AE; return the Transaction UID."""
    uid = new_uid()
    headers = {"content-type": "application/dicom+json"}
    if calling:
        headers["fileroom-calling-ae"] = calling
    path = f"/dicom-web/commitment-requests/{uid}"
    answer = await client.post(path, json=named(alone(make_dataset())), headers=headers)
    assert answer.status_code == expected, answer.text
    return uid


async def listed(client: httpx.AsyncClient, query: str = "") -> list[tuple[str, str, bool]]:
    found = (await call(client, "GET", f"/commitments{query}"))["commitments"]
    return [(one["transaction"], one["ae_title"], one["finished"]) for one in found]


async def test_what_an_ae_was_not_told_is_listed_until_it_was(client: httpx.AsyncClient) -> None:
    one, other = await request(client), await request(client, "MR01 ")
    await request(client, "")  # a client of HTTP asks for itself
    assert await listed(client) == [(one, "CT01", True), (other, "MR01", True)]
    assert await listed(client, "?ae_title=MR01") == [(other, "MR01", True)]
    page = await call(client, "GET", "/commitments?limit=1")
    assert await listed(client, f"?after={page['next']}") == [(other, "MR01", True)]
    for _ in range(2):
        await call(client, "POST", f"/commitments/{one}/reported", 204)
    assert await listed(client) == [(other, "MR01", True)]
    await call(client, "POST", f"/commitments/{new_uid()}/reported", 404)
    await call(client, "POST", "/commitments/1..2/reported", 400)
    await call(client, "GET", "/commitments?ae_title=A%5CB", 400)


async def test_one_without_a_result_cannot_be_reported_and_is_there_after_a_restart(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object) -> None:
        return None

    async def none_waiting(*_: object) -> list[int]:
        return []

    monkeypatch.setattr(committing, "take_commitment", nobody)
    monkeypatch.setattr(committing, "list_waiting", none_waiting)
    async with served() as client:
        uid = await request(client, expected=202)
        assert await listed(client) == [(uid, "CT01", False)]
        await call(client, "POST", f"/commitments/{uid}/reported", 404)
    async with served() as client:
        assert await listed(client) == [(uid, "CT01", False)]
