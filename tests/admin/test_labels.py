"""Labels over the whole application."""

from typing import Any

import httpx
import pytest

from tests.admin.conftest import KEY, Served
from tests.admin.test_changes import post, read
from tests.factories import new_uid

API = "/api/v1"


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(API + path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


async def test_a_label_is_put_on_seen_counted_and_taken_off(
    client: httpx.AsyncClient,
) -> None:  # D-11
    one, two = sorted([new_uid(), new_uid()])
    for study in (one, two):
        await post(client, study)
        url = f"{API}/studies/{study}/labels/teaching"
        assert [(await client.put(url)).status_code for _ in range(2)] == [201, 204]
    await client.put(f"{API}/studies/{one}/labels/trial:4.2_b-x")
    assert await get(client, f"/studies/{one}/labels") == {
        "study": one,
        "labels": ["teaching", "trial:4.2_b-x"],
    }
    counted = await get(client, "/labels", limit=1)
    assert counted == {"labels": [{"label": "teaching", "studies": 2}], "next": "teaching"}
    rest = await get(client, "/labels", after="teaching")
    assert rest == {"labels": [{"label": "trial:4.2_b-x", "studies": 1}], "next": None}
    page = await get(client, "/labels/teaching", limit=1)
    assert page == {"label": "teaching", "studies": [one], "next": one}
    assert (await get(client, "/labels/teaching", after=one))["studies"] == [two]
    url = f"{API}/studies/{one}/labels/teaching"
    assert [(await client.delete(url)).status_code for _ in range(2)] == [204, 204]
    assert (await get(client, "/labels/teaching"))["studies"] == [two]
    changes, _ = await read(client)
    assert [one["kind"] for one in changes] == [
        *("accepted", "labelled"), *("accepted", "labelled"), "labelled", "unlabelled",
    ]  # fmt: skip


async def test_what_is_not_there_and_what_was_deleted_has_no_labels(
    client: httpx.AsyncClient,
) -> None:
    study = new_uid()
    await post(client, study)
    assert (await client.delete(f"/dicom-web/studies/{study}")).status_code == 204
    for uid, status in ((study, 410), (new_uid(), 404), ("1.x", 400)):
        url = f"{API}/studies/{uid}/labels"
        assert (await client.get(url)).status_code == status
        assert (await client.put(f"{url}/a")).status_code == status
        assert (await client.delete(f"{url}/a")).status_code == status


@pytest.mark.parametrize("label", ["A", "a%20b", "%C3%A4", "a%00", "x" * 65])
async def test_what_is_no_label_is_refused_and_told_why(
    client: httpx.AsyncClient, label: str
) -> None:
    study = new_uid()
    await post(client, study)
    answer = await client.put(f"{API}/studies/{study}/labels/{label}")
    assert (answer.status_code, "lower-case" in answer.json()["detail"]) == (400, True)
    assert (await client.get(f"{API}/labels/{label}")).status_code == 400
    after = await client.get(f"{API}/labels", params={"after": "A"})
    assert after.status_code == 400
    assert (await client.get(f"{API}/labels/a", params={"after": "x"})).status_code == 400


async def test_without_the_key_nobody_sees_or_changes_labels(served: Served) -> None:
    async with served(key=True) as client:
        url = f"{API}/studies/1.2/labels"
        for method, path in (("GET", url), ("PUT", f"{url}/a"), ("DELETE", f"{url}/a")):
            assert (await client.request(method, path)).status_code == 401
        assert (await client.get(f"{API}/labels")).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert (await client.get(f"{API}/labels", headers=headers)).json()["labels"] == []
