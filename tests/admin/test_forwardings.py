"""Forwarding over the whole application, as operators and bridges use it."""

from typing import Any

import httpx
import pytest

from tests.admin.conftest import KEY, Served
from tests.admin.test_metrics import sample
from tests.factories import make_part10, new_uid

API = "/api/v1"
STATION = {"host": "10.0.0.17", "port": 11112, "tls": True}


async def call(
    client: httpx.AsyncClient, method: str, path: str, expected: int = 200, **body: Any
) -> Any:
    """Make a request, and return the JSON of its answer."""
    sent = body if method in {"POST", "PUT"} else None
    answer = await client.request(method, API + path, json=sent)
    assert answer.status_code == expected, answer.text
    return answer.json() if answer.content else None


async def stored(client: httpx.AsyncClient, calling: str = "CT01") -> str:
    """Store an Instance for an AE; return its Study's UID."""
    uid = new_uid()
    headers = {"content-type": "application/dicom", "fileroom-calling-ae": calling}
    content = make_part10(StudyInstanceUID=uid)
    answer = await client.post("/dicom-web/studies", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return uid


@pytest.fixture
async def ruled(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of an archive with a destination and a rule."""
    await call(client, "PUT", "/destinations/STATION", 201, **STATION)
    rule = {"destination": "STATION", "sources": ["CT01"], "modalities": ["CT"]}
    await call(client, "POST", "/forwarding-rules", 201, **rule)
    return client


async def test_destinations_are_put_listed_and_deleted(client: httpx.AsyncClient) -> None:
    await call(client, "GET", "/destinations/STATION", 404)
    await call(client, "PUT", "/destinations/STATION", 201, **STATION)
    await call(client, "PUT", "/destinations/STATION", 204, **STATION)
    one = await call(client, "GET", "/destinations/STATION")
    assert one.items() >= {"ae_title": "STATION", **STATION}.items()
    assert await call(client, "GET", "/destinations") == {"destinations": [one]}
    for wrong in ({"port": 0}, {"port": "104"}, {"tls": "yes"}, {"host": ""}, {"more": 1}):
        await call(client, "PUT", "/destinations/STATION", 400, **{**STATION, **wrong})
    await call(client, "DELETE", "/destinations/STATION", 204)
    await call(client, "DELETE", "/destinations/STATION", 404)


async def test_rules_are_made_listed_and_deleted(ruled: httpx.AsyncClient) -> None:
    (rule,) = (await call(ruled, "GET", "/forwarding-rules"))["rules"]
    assert (rule["destination"], rule["sources"], rule["sop_classes"]) == ("STATION", ["CT01"], [])
    await call(ruled, "POST", "/forwarding-rules", 404, destination="NOWHERE")
    await call(ruled, "POST", "/forwarding-rules", 400, destination="STATION", modality="CT")
    await call(ruled, "DELETE", "/destinations/STATION", 409)
    await call(ruled, "DELETE", f"/forwarding-rules/{rule['id']}", 204)
    await call(ruled, "DELETE", f"/forwarding-rules/{rule['id']}", 404)


async def test_a_bridge_claims_sends_and_tells(ruled: httpx.AsyncClient) -> None:
    study = await stored(ruled)
    await stored(ruled, "CT02")
    (listed,) = (await call(ruled, "GET", "/forwardings"))["forwardings"]
    assert (listed["study"], listed["state"], listed["destination"]) == (
        study,
        "waiting",
        "STATION",
    )
    claimed = await call(ruled, "POST", "/forwardings/claims", limit=10, seconds=30)
    assert claimed["destination"] == {"ae_title": "STATION", **STATION}
    (one,) = claimed["instances"]
    assert one["study"] == study
    assert one["transfer_syntax"] == "1.2.840.10008.1.2.1"
    await call(ruled, "POST", "/forwardings/claims", 204)
    assert (await call(ruled, "GET", "/forwardings?state=claimed"))["next"] is None
    claim = f"/forwardings/claims/{claimed['claim']}"
    assert (await call(ruled, "PUT", claim, seconds=90))["until"] > claimed["until"]
    failed = [{"id": one["id"], "reason": "A700: out of\0 resources"}]
    told = await call(ruled, "POST", f"{claim}/results", failed=failed)
    assert told == {"done": 0, "failed": 1}
    (listed,) = (await call(ruled, "GET", "/forwardings?state=waiting"))["forwardings"]
    assert listed["reason"] == "A700: out of resources"
    await call(ruled, "DELETE", claim, 404)
    assert await call(ruled, "POST", "/forwardings/retry", ids=[one["id"]]) == {"retried": 1}
    claimed = await call(ruled, "POST", "/forwardings/claims", destination="STATION")
    claim = f"/forwardings/claims/{claimed['claim']}"
    await call(ruled, "DELETE", claim, 204)
    claimed = await call(ruled, "POST", "/forwardings/claims")
    results = f"/forwardings/claims/{claimed['claim']}/results"
    assert await call(ruled, "POST", results, done=[one["id"]]) == {"done": 1, "failed": 0}
    assert (await call(ruled, "GET", "/forwardings"))["forwardings"] == []


async def test_an_operator_queues_pages_and_gives_up(ruled: httpx.AsyncClient) -> None:
    studies = [await stored(ruled, "CT02") for _ in range(3)]
    for study in studies:
        wanted = {"destination": "STATION", "study": study}
        assert await call(ruled, "POST", "/forwardings", 201, **wanted) == {"queued": 1}
    page = await call(ruled, "GET", "/forwardings?limit=2&destination=STATION")
    assert [one["study"] for one in page["forwardings"]] == studies[:2]
    rest = await call(ruled, "GET", f"/forwardings?limit=2&after={page['next']}")
    assert [one["study"] for one in rest["forwardings"]] == studies[2:]
    assert await sample(ruled, "fileroom_forwarding_waiting", destination="STATION") == 3
    assert await sample(ruled, "fileroom_forwarding_dead", destination="STATION") == 0
    gone = await call(ruled, "POST", "/forwardings/discard", destination="STATION")
    assert gone == {"discarded": 3}
    assert await call(ruled, "POST", "/forwardings/discard") == {"discarded": 0}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/forwardings/claims", {"limit": 0}),
        ("POST", "/forwardings/claims", {"seconds": 1}),
        ("POST", "/forwardings/claims", {"destination": "A\\B"}),
        ("POST", "/forwardings/claims/x/results", {"failed": [{"id": 1}]}),
        ("POST", "/forwardings", {"destination": "STATION", "study": "1..2"}),
        ("POST", "/forwardings", {"study": "1.2"}),
        ("GET", "/forwardings?state=lost", {}),
        ("GET", "/forwardings?destination=%00", {}),
        ("POST", "/forwardings/retry", {"destination": "\0"}),
        ("GET", "/forwardings?limit=0", {}),
    ],
)
async def test_what_is_malformed_is_400(
    ruled: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]
) -> None:
    await call(ruled, method, path, 400, **body)


async def test_what_is_no_name_of_a_claim_is_404(ruled: httpx.AsyncClient) -> None:
    await call(ruled, "PUT", "/forwardings/claims/%00", 404)
    await call(ruled, "POST", "/forwardings/claims/x/results", 404, done=[1])
    await call(ruled, "DELETE", "/forwardings/claims/x", 404)


async def test_a_calling_ae_that_is_none_is_400_and_nothing_is_stored(
    ruled: httpx.AsyncClient,
) -> None:
    headers = {"content-type": "application/dicom", "fileroom-calling-ae": "A" * 17}
    answer = await ruled.post("/dicom-web/studies", content=make_part10(), headers=headers)
    assert answer.status_code == 400
    assert (await ruled.get("/dicom-web/studies")).status_code == 204


async def test_without_the_key_nothing_is_told(served: Served) -> None:
    async with served(key=True) as client:
        for path in ("/destinations", "/forwarding-rules", "/forwardings"):
            assert (await client.get(API + path)).status_code == 401
            allowed = {"authorization": f"Bearer {KEY}"}
            assert (await client.get(API + path, headers=allowed)).status_code == 200
