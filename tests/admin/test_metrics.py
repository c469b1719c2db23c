"""What is counted, and over which routes."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.admin.metrics import Measured
from app.archive.webhook_calls import make_secret
from app.index.clock import see_time_pass
from app.index.embedded import EmbeddedPostgres
from app.index.engine import Index
from app.index.webhooks import add_webhook
from app.logs import ACCESS
from tests.admin.conftest import Served
from tests.factories import make_part10
from tests.waiting import until

SCRIPT = """
import asyncio, sys
from app.admin.metrics import Measured, exposition
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
async def send(message):
    pass
scope = {"type": "http", "method": "GET", "path": "/", "fileroom.route": "/here"}
for _ in range(int(sys.argv[1])):
    asyncio.run(Measured(app)(scope, None, send))
print(exposition(None, 0).decode())
"""


async def sample(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """Return one number of `/metrics`, 0 if it is not there yet."""
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for family in text_string_to_metric_families(answer.text):
        for found in family.samples:
            if found.name == name and found.labels == labels:
                return found.value
    return 0.0


async def test_requests_are_counted_by_template_not_by_path(client: httpx.AsyncClient) -> None:
    route = "/dicom-web/studies/{study}/metadata"
    labels = {"method": "GET", "route": route, "status": "404"}
    before = await sample(client, "fileroom_http_requests_total", **labels)
    for number in range(3):
        await client.get(f"/dicom-web/studies/1.2.{number}/metadata")
    after = await sample(client, "fileroom_http_requests_total", **labels)
    assert after - before == 3


async def test_no_uid_and_no_name_stands_in_the_metrics(client: httpx.AsyncClient) -> None:
    await client.get("/dicom-web/studies/1.2.333/series/1.2.444/instances/1.2.555/frames/1")
    await client.get("/dicom-web/studies?PatientName=Muster")
    await client.get("/no/such/Muster")
    text = (await client.get("/metrics")).text
    assert not re.search(r"Muster|1\.2\.(333|444|555)", text)
    assert 'route="other"' in text


async def test_bytes_are_counted_both_ways(client: httpx.AsyncClient) -> None:
    labels = {"method": "POST", "route": "/dicom-web/studies"}
    body = make_part10()
    before = await sample(client, "fileroom_http_received_bytes_total", **labels)
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    answer = await client.post("/dicom-web/studies", content=body, headers=headers)
    assert answer.status_code == 200
    after = await sample(client, "fileroom_http_received_bytes_total", **labels)
    assert after - before == len(body)
    assert await sample(client, "fileroom_http_sent_bytes_total", **labels) >= len(answer.content)


async def test_durations_are_counted(client: httpx.AsyncClient) -> None:
    labels = {"method": "GET", "route": "/health/live"}
    before = await sample(client, "fileroom_http_request_seconds_count", **labels)
    await client.get("/health/live")
    assert await sample(client, "fileroom_http_request_seconds_count", **labels) == before + 1


async def test_what_is_stored_is_told_as_well(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    body = make_part10()
    (await client.post("/dicom-web/studies", content=body, headers=headers)).raise_for_status()
    assert await sample(client, "fileroom_index_up") == 1
    assert await sample(client, "fileroom_stored_instances") == 1
    assert await sample(client, "fileroom_stored_bytes") == len(body)


async def test_what_waits_for_each_webhook_is_told(client: httpx.AsyncClient, index: Index) -> None:
    for name in ("one", "two"):
        url = f"http://127.0.0.1:9/{name}"  # where nobody answers
        await add_webhook(index, 1, url, [], make_secret(), "test")
    headers = {"Content-Type": "application/dicom"}
    body = make_part10()
    (await client.post("/dicom-web/studies", content=body, headers=headers)).raise_for_status()
    for number in ("1", "2"):
        assert await sample(client, "fileroom_webhook_waiting", webhook=number) == 1
        assert await sample(client, "fileroom_webhook_lag_seconds", webhook=number) > 0

    async def queued() -> bool:
        return await sample(client, "fileroom_jobs_waiting") == 2

    await until(queued)
    assert await sample(client, "fileroom_jobs_oldest_seconds") > 0
    assert await sample(client, "fileroom_jobs_dead") == 0


async def test_without_an_index_the_metrics_say_so(
    served: Served, postgres: EmbeddedPostgres
) -> None:
    async with served(url=postgres.url("no_such_database")) as client:
        assert "fileroom_index_up 0.0" in (await client.get("/metrics")).text.splitlines()


async def test_a_method_of_no_meaning_is_not_a_label_of_its_own(client: httpx.AsyncClient) -> None:
    await client.request("FROBNICATE", "/health/live")
    assert "FROBNICATE" not in (await client.get("/metrics")).text


async def test_a_request_that_fails_is_counted_as_500(client: httpx.AsyncClient) -> None:
    async def broken(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("broken")

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    measured = Measured(broken)
    scope = {"type": "http", "method": "GET", "path": "/", "fileroom.route": "/broken"}
    with pytest.raises(RuntimeError, match="broken"):
        await measured(scope, nothing, nothing)  # type: ignore[arg-type]
    labels = {"method": "GET", "route": "/broken", "status": "500"}
    assert await sample(client, "fileroom_http_requests_total", **labels) == 1


@pytest.mark.parametrize(("access", "lines"), [(logging.INFO, 1), (logging.WARNING, 0)])
async def test_an_access_log_says_the_path_and_never_the_query(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, access: int, lines: int
) -> None:
    with caplog.at_level(access, ACCESS):
        await client.get("/dicom-web/studies?PatientName=Muster")
    told = [record for record in caplog.records if record.name == ACCESS]
    assert [record.__dict__["path"] for record in told] == ["/dicom-web/studies"] * lines
    assert all("Muster" not in str(record.__dict__) for record in told)


@pytest.mark.slow
def test_workers_add_up_after_they_have_ended(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", SCRIPT]
    subprocess.run([*command, "2"], env=environment, check=True, capture_output=True)
    last = subprocess.run([*command, "3"], env=environment, check=True, capture_output=True)
    counted = 'fileroom_http_requests_total{method="GET",route="/here",status="204"} 5.0'
    assert counted in last.stdout.decode().splitlines()


async def test_how_far_the_clock_is_ahead_is_shown(client: httpx.AsyncClient, index: Index) -> None:
    assert await sample(client, "fileroom_clock_ahead_seconds") == 0
    await see_time_pass(index, 60)
    await index.fetch("UPDATE upkeep SET done_at = done_at - interval '3 days'")
    assert 3 <= await sample(client, "fileroom_clock_ahead_seconds") / 86_400 < 3.01
