"""Holds, retention rules and what is deleted, over the whole application."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.archive import upkeep
from app.main import create_app
from app.settings import Retention, Settings
from tests.admin.conftest import Served
from tests.admin.test_changes import post, read
from tests.admin.test_metrics import sample
from tests.factories import make_non_patient, make_part10, new_uid
from tests.waiting import until

API = "/api/v1"
RULE = {"name": "CT ten years", "action": "keep", "days": 3653, "modalities": ["CT"]}


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


async def test_a_hold_is_put_seen_listed_and_taken_off(
    client: httpx.AsyncClient,
) -> None:  # D-09
    studies = sorted([new_uid(), new_uid()])
    for study in studies:
        await post(client, study)
        url = f"{API}/studies/{study}/hold"
        assert (await client.get(url)).status_code == 404
        put = await client.put(url, json={"reason": "case 17"})
        assert put.status_code == 200
        assert (put.json()["study"], put.json()["reason"]) == (study, "case 17")
        assert (await client.get(url)).json() == put.json()
    kept = await client.delete(f"/dicom-web/studies/{studies[0]}")
    assert (kept.status_code, "under legal hold" in kept.json()["detail"]) == (409, True)
    refused = await client.post(f"/dicom-web/studies/{studies[0]}/reject/113001^DCM")
    assert refused.status_code == 409
    first = await get(client, "/holds", limit=1)
    assert ([one["study"] for one in first["holds"]], first["next"]) == ([studies[0]], studies[0])
    rest = await get(client, "/holds", after=studies[0])
    assert ([one["study"] for one in rest["holds"]], rest["next"]) == ([studies[1]], None)
    url = f"{API}/studies/{studies[0]}/hold"
    assert (await client.delete(url)).status_code == 204
    assert (await client.delete(url)).status_code == 404
    assert (await client.delete(f"/dicom-web/studies/{studies[0]}")).status_code == 204
    changes, _ = await read(client)
    assert [one["kind"] for one in changes if "because" in one] == ["held", "held"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"{}", 400, "reason: Field required"),
        (b'{"reason": ""}', 400, "reason: "),
        (b'{"reason": "x", "more": 1}', 400, "another name: "),
        (b'{"reason": 5}', 400, "reason: "),
        (b'{"reason": "' + b"x" * 2**16 + b'"}', 413, "65536 bytes"),
    ],
)
async def test_a_hold_without_a_good_reason_is_refused_in_words(
    client: httpx.AsyncClient, body: bytes, status: int, said: str
) -> None:
    study = new_uid()
    await post(client, study)
    answer = await client.put(f"{API}/studies/{study}/hold", content=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


async def test_a_rule_is_made_looked_at_activated_and_removed(
    client: httpx.AsyncClient,
) -> None:  # D-10
    study = new_uid()
    await post(client, study)  # of 2024
    made = await client.post(f"{API}/retention-rules", json=RULE)
    assert made.status_code == 201
    rule = made.json()
    assert rule | RULE == rule
    assert (rule["state"], rule["counted_from"], rule["stations"]) == ("draft", "study-date", [])
    labelled = await client.post(
        f"{API}/retention-rules", json={**RULE, "name": "trial", "labels": ["trial:4"]}
    )
    assert labelled.json()["labels"] == ["trial:4"]
    assert (await client.delete(f"{API}/retention-rules/{labelled.json()['id']}")).is_success
    url = f"{API}/retention-rules/{rule['id']}"
    again = await client.post(f"{API}/retention-rules", json=RULE)
    assert again.status_code == 409
    preview = await get(client, f"/retention-rules/{rule['id']}/preview")
    assert (preview["studies"], preview["instances"], preview["sample"]) == (1, 1, [study])
    active = await client.post(f"{url}/activate")
    assert (active.status_code, active.json()["state"]) == (200, "active")
    assert (await get(client, "/retention-rules"))["rules"] == [active.json()]
    resting = await client.post(f"{url}/deactivate")
    assert (resting.status_code, resting.json()["state"]) == (200, "draft")
    assert resting.json()["activated_at"] is None
    active = await client.post(f"{url}/activate")
    kept = await client.delete(f"/dicom-web/studies/{study}")
    assert (kept.status_code, "'CT ten years' keeps it" in kept.json()["detail"]) == (409, True)
    assert (await client.delete(url)).status_code == 204
    assert (await client.delete(url)).status_code == 404
    assert (await client.get(f"{url}/preview")).status_code == 404
    assert (await client.delete(f"/dicom-web/studies/{study}")).status_code == 204


@pytest.mark.parametrize("door", ["holds", "removed"])
async def test_a_page_begins_after_a_uid(client: httpx.AsyncClient, door: str) -> None:
    for after in ("\0", "é", "x" * 100):
        refused = await client.get(f"/api/v1/{door}", params={"after": after})
        assert refused.status_code == 400, after
    assert (await client.get(f"/api/v1/{door}", params={"after": "1.2.3"})).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"action": "burn"},
        {"days": 0},
        {"days": "x"},
        {"days": True},
        {"counted_from": "birth"},
        {"modalities": 1},
    ],
)
async def test_what_is_no_rule_is_refused(
    client: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    answer = await client.post(f"{API}/retention-rules", json={**RULE, **change})
    assert answer.status_code == 400
    assert next(iter(change)) in answer.json()["detail"]


async def test_what_is_deleted_is_listed_in_pages_with_its_last_day(
    client: httpx.AsyncClient,
) -> None:
    studies = sorted(new_uid() for _ in range(3))
    for study in studies:
        await post(client, study)
        assert (await client.delete(f"/dicom-web/studies/{study}")).status_code == 204
    await client.put(f"{API}/studies/{studies[2]}/hold", json={"reason": "case 17"})
    first = await get(client, "/removed", limit=2)
    assert [one["study"] for one in first["removed"]] == studies[:2]
    assert first["next"] == studies[1]
    assert first["removed"][0]["instances"] == 1
    assert first["removed"][0]["bytes"] > 0
    assert first["removed"][0]["purged_at"] > first["removed"][0]["deleted_at"]
    rest = await get(client, "/removed", after=studies[1])
    assert [(one["study"], one["held"]) for one in rest["removed"]] == [(studies[2], True)]
    assert (rest["next"], rest["removed"][0]["purged_at"]) == (None, None)
    back = await client.post(f"/dicom-web/studies/{studies[0]}/restore")
    assert back.json() == {"restored": 1, "present": 0}
    listed = (await get(client, "/removed"))["removed"]
    assert [one["study"] for one in listed] == studies[1:]


async def test_deleted_instances_of_no_patient_are_listed_apart(client: httpx.AsyncClient) -> None:
    dataset = make_non_patient("1.2.840.10008.5.1.4.38.1")
    path = f"/dicom-web/hanging-protocols/{dataset.SOPInstanceUID}"
    body, headers = make_part10(dataset), {"Content-Type": "application/dicom"}
    stored = await client.post("/dicom-web/hanging-protocols", content=body, headers=headers)
    assert stored.status_code == 200
    assert (await client.delete(path)).status_code == 204
    found = await get(client, "/removed/non-patient", limit=1)
    (one,) = found["removed"]
    assert (one["category"], one["instance"]) == ("hanging-protocols", dataset.SOPInstanceUID)
    assert (await get(client, "/removed/non-patient", after=found["next"]))["removed"] == []
    assert (await get(client, "/removed"))["removed"] == []


async def test_what_waits_for_a_purge_is_a_metric(client: httpx.AsyncClient) -> None:
    study = new_uid()
    await post(client, study)
    assert await sample(client, "fileroom_deleted_instances") == 0
    await client.delete(f"/dicom-web/studies/{study}")
    assert await sample(client, "fileroom_deleted_instances") == 1
    (removed,) = (await get(client, "/removed"))["removed"]
    assert await sample(client, "fileroom_deleted_bytes") == removed["bytes"] > 0


async def test_strangers_see_nothing_of_it(served: Served) -> None:
    async with served(key=True) as client:
        for path in ("/holds", "/removed", "/removed/non-patient", "/retention-rules"):
            assert (await client.get(API + path)).status_code == 401, path
        assert (await client.put(f"{API}/studies/1.2/hold", json={})).status_code == 401


def objects(tmp_path: Path) -> list[Path]:
    return list(tmp_path.rglob("*.dcm"))


async def test_the_server_purges_by_itself_as_it_is_set(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("LOOK_SECONDS", 0.05), ("PURGE_SECONDS", 0), ("READ_SECONDS", 0)):
        monkeypatch.setattr(upkeep, name, seconds)
    settings = Settings(data_dir=tmp_path, retention=Retention(deleted_days=0))
    app = create_app(settings.with_database(database_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client,
    ):
        study = new_uid()
        await post(client, study)
        assert len(objects(tmp_path)) == 1
        await client.delete(f"/dicom-web/studies/{study}")

        async def gone() -> bool:
            return not objects(tmp_path)

        await until(gone)
        assert (await client.post(f"/dicom-web/studies/{study}/restore")).status_code == 404


def test_without_a_purge_nothing_has_a_last_day(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, retention=Retention(purge=False))
    assert settings.with_database(database_url).place().deleted_days is None
    assert Settings(data_dir=tmp_path).with_database(database_url).place().deleted_days == 30
