"""Receipts, keys and manifests over the whole application, whose server seals by itself."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.admin.conftest import KEY, Served
from tests.archive.test_manifests import lines_of, proof_of
from tests.archive.test_merkle import root_from
from tests.factories import make_dataset, make_part10

RECEIPTS = "/api/v1/receipts"
DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.sealing._LOOK_SECONDS", 0.05)
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


async def post(client: httpx.AsyncClient) -> tuple[str, str]:
    """Store an Instance; return the paths of its Study and of itself."""
    dataset = make_dataset()
    answer = await client.post("/dicom-web/studies", content=make_part10(dataset), headers=DICOM)
    assert answer.status_code == 200
    study = f"/studies/{dataset.StudyInstanceUID}"
    return (
        study,
        f"{study}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}",
    )


async def sealed(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    for _ in range(100):
        answer = await client.get(RECEIPTS + path)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        if body["state"] == "sealed":
            return body
        assert (body["proof"], body["state"]) == (None, "pending")
        await asyncio.sleep(0.05)
    raise AssertionError("it was not sealed")


async def test_a_receipt_proves_itself_with_the_public_key(client: httpx.AsyncClient) -> None:
    study, path = await post(client)
    receipt = await sealed(client, path)
    proof = receipt["proof"]
    (key,) = (await client.get(f"{RECEIPTS}/keys")).json()["keys"]
    assert proof["key"] == key["key"]
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["public"]))
    public.verify(bytes.fromhex(proof["signature"]), proof["head"].encode())
    head, leaf = json.loads(proof["head"]), json.loads(proof["leaf"])
    beside = [bytes.fromhex(one) for one in proof["path"]]
    root = root_from(proof["leaf"].encode(), proof["index"], head["entries"], beside)
    assert root.hex() == head["root"] == proof["root"]
    assert (head["number"], head["entries"]) == (proof["segment"], proof["entries"])
    digests = leaf["payload"]["series"][receipt["series"]]
    assert digests[receipt["instance"]][0] == receipt["sha256"]
    assert receipt["stored_at"] == leaf["at"]
    assert receipt["stores"] == ["first"]
    whole = (await client.get(RECEIPTS + study)).json()
    assert whole["next"] is None
    assert whole["proofs"] == {receipt["event"]: proof}
    del receipt["proof"]
    assert whole["receipts"] == [receipt]


async def test_receipts_are_refused_as_the_instances_are(client: httpx.AsyncClient) -> None:
    study, path = await post(client)
    assert (await client.get(f"{RECEIPTS}{study}x")).status_code == 400
    assert (await client.get(f"{RECEIPTS}/studies/1.2.3")).status_code == 404
    assert (await client.get(f"{RECEIPTS}{study}?limit=0")).status_code == 400
    assert (await client.delete(f"/dicom-web{study}")).status_code == 204
    for gone in (study, path):
        assert (await client.get(RECEIPTS + gone)).status_code == 410


async def test_strangers_get_no_receipts(served: Served) -> None:
    async with served(key=True) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        study, path = await post(client)
        del client.headers["Authorization"]
        for asked in (study, path, "/keys", "/manifests/2026-01-31"):
            assert (await client.get(RECEIPTS + asked)).status_code == 401


async def test_the_manifest_of_a_day_proves_itself(client: httpx.AsyncClient) -> None:
    _, path = await post(client)
    receipt = await sealed(client, path)
    day = receipt["proof"]["head"].split('"sealed_at":"')[1][:10]
    answer = await client.get(f"{RECEIPTS}/manifests/{day}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    json.loads(answer.content)
    (key,) = (await client.get(f"{RECEIPTS}/keys")).json()["keys"]
    proof = proof_of(answer.content, bytes.fromhex(key["public"]))
    assert proof.faults == []
    assert proof.head.complete == (datetime.now(UTC).strftime("%Y-%m-%d") != day)
    assert receipt["sha256"].encode() in b"".join(lines_of(answer.content))
    assert (await client.get(f"{RECEIPTS}/manifests/2020-01-31")).status_code == 404
    assert (await client.get(f"{RECEIPTS}/manifests/today")).status_code == 400


async def test_the_lag_of_the_seal_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lag() -> float:
        text = (await client.get("/metrics")).text
        (line,) = [one for one in text.splitlines() if one.startswith("fileroom_seal_lag_seconds ")]
        return float(line.split()[1])

    assert await lag() == 0
    _, path = await post(client)
    await sealed(client, path)
    assert await lag() == 0
    await asyncio.sleep(0.1)
    monkeypatch.setattr("app.archive.sealing.tenants_waiting", _nobody)
    await post(client)
    await asyncio.sleep(0.1)
    assert 0.1 <= await lag() < 60


async def _nobody(*_: object) -> list[int]:
    return []
