"""Findings and the numbers of safety, as operators get them."""

from pathlib import Path

import httpx

from app.archive.scrubbing import scrub_store
from tests.admin.conftest import KEY, Served
from tests.admin.test_metrics import sample
from tests.factories import make_dataset, make_part10

HEADERS = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


async def test_what_is_in_quarantine_is_listed_counted_and_refused(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    dataset = make_dataset()
    sent = await client.post("/dicom-web/studies", content=make_part10(dataset), headers=HEADERS)
    sent.raise_for_status()
    (path,) = (tmp_path / "objects" / "t").rglob("*.dcm")
    path.rename(path.with_suffix(".gone"))
    archive = client._transport.app.state.archive  # type: ignore[attr-defined]
    archive.objects.forget(str(path.relative_to(tmp_path / "objects")))
    await scrub_store(archive, "first", "me", 0)
    body = (await client.get("/api/v1/findings")).json()
    (finding,) = body["findings"]
    assert (finding["state"], finding["store"]) == ("quarantined", "")
    assert finding["instance"] == dataset.SOPInstanceUID
    assert finding["study"] == dataset.StudyInstanceUID
    following = await client.get("/api/v1/findings", params={"after": body["next"]})
    assert following.json() == {"findings": [], "next": body["next"]}
    assert await sample(client, "fileroom_findings", state="quarantined") == 1
    study = f"/dicom-web/studies/{dataset.StudyInstanceUID}"
    (row,) = (await client.get(f"{study}/instances")).json()
    for what in ("", "/frames/1", "/rendered"):
        answer = await client.get(row["00081190"]["Value"][0] + what)
        assert answer.status_code == 500, what
        assert "are damaged, in every store" in answer.json()["detail"]
    assert (await client.get(f"{study}/metadata")).status_code == 200


async def test_the_age_of_what_was_not_verified_is_a_metric(client: httpx.AsyncClient) -> None:
    answer = await client.post("/dicom-web/studies", content=make_part10(), headers=HEADERS)
    answer.raise_for_status()
    age = await sample(client, "fileroom_oldest_unverified_seconds", store="first")
    assert 0 < age < 60


async def test_findings_are_for_those_who_have_the_key(served: Served) -> None:
    async with served(key=True) as client:
        assert (await client.get("/api/v1/findings")).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert (await client.get("/api/v1/findings", headers=headers)).status_code == 200
