"""Probes."""

import shutil
from pathlib import Path

import httpx

from app.dicom.limits import Limits
from app.index.embedded import EmbeddedPostgres
from tests.admin.conftest import KEY, Served
from tests.factories import make_part10


async def test_a_process_that_answers_is_live(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert answer.json() == {"status": "live"}
    assert answer.headers["cache-control"] == "no-store"


async def test_an_archive_that_answers_is_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "index": "ok", "objects": "ok"}


async def test_without_an_index_it_lives_but_is_not_ready(
    served: Served, postgres: EmbeddedPostgres
) -> None:
    async with served(url=postgres.url("no_such_database")) as client:
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "unavailable",
            "index": "does not answer",
            "objects": "ok",
        }


async def test_without_its_objects_it_is_not_ready(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "objects")
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["objects"] == "does not answer"


async def test_a_full_disk_is_told_of_and_what_is_stored_can_be_read(served: Served) -> None:
    async with served(limits=Limits(reserve_bytes=2**62)) as client:
        answer = await client.get("/health/ready")
        assert answer.status_code == 200
        assert answer.json()["status"] == "ready"
        assert answer.json()["objects"] == "full: nothing more can be stored"
        assert "fileroom_free_bytes 0.0" in (await client.get("/metrics")).text.splitlines()
        assert (await client.get("/dicom-web/studies")).status_code == 204
        refused = await client.post(
            "/dicom-web/studies",
            content=make_part10(),
            headers={"Content-Type": "application/dicom"},
        )
        assert refused.status_code == 507


async def test_probes_need_no_key_and_no_name_of_this_machine(served: Served) -> None:
    async with served(key=True) as client:
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path, headers={"Host": "10.0.0.7"})).status_code == 200


async def test_metrics_are_for_holders_of_the_key(served: Served) -> None:
    async with served(key=True) as client:
        assert (await client.get("/metrics")).status_code == 401
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200
