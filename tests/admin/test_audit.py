"""The audit trail over the whole application: what answers show is in it when they end."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.archive import trail as trail_module
from app.dicom.uids import InstanceRef
from app.errors import Unavailable
from app.main import DICOMWEB, create_app
from app.rights import Principal, Scope, Verb
from app.settings import Audit, Settings
from app.web.audited import ELSEWHERE, SHOWS, asked_for, shows_nothing
from tests.admin.conftest import KEY, Served
from tests.factories import make_dataset, make_part10

DICOM = {"Content-Type": "application/dicom"}
AUDIT = "/api/v1/audit"
READ = [("action", kind) for kind in ("searched", "viewed", "downloaded", "denied")]


async def post(client: httpx.AsyncClient) -> InstanceRef:
    dataset = make_dataset()
    answer = await client.post("/dicom-web/studies", content=make_part10(dataset), headers=DICOM)
    assert answer.status_code == 200, answer.text
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    return InstanceRef(*map(str, uids))


async def trail_of(client: httpx.AsyncClient, *query: tuple[str, str]) -> list[dict[str, Any]]:
    answer = await client.get(AUDIT, params=list(query or READ))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def paths_of(ref: InstanceRef) -> Iterator[tuple[str, str]]:
    """Yield what can be read of an Instance, and what each is for the trail."""
    study = f"/dicom-web/studies/{ref.study}"
    series = f"{study}/series/{ref.series}"
    instance = f"{series}/instances/{ref.instance}"
    for at in (study, series, instance):
        yield at, "downloaded"
        for what in ("metadata", "rendered", "thumbnail", "bulkdata", "pixeldata"):
            yield f"{at}/{what}", "viewed"
    for what in ("", "/rendered", "/thumbnail"):
        yield f"{instance}/frames/1{what}", "viewed"
    yield f"{instance}/bulkdata/7FE00010", "viewed"
    for at in (f"{study}/series", f"{study}/instances", f"{series}/instances"):
        yield at, "searched"
    wado = f"/wado?requestType=WADO&objectUID={ref.instance}"
    yield wado, "viewed"
    yield f"{wado}&contentType=application/dicom", "downloaded"


async def test_every_way_to_read_a_study_is_in_the_trail_when_it_ends(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "INTERVAL_SECONDS", 0)  # each read has its own entry
    ref = await post(client)
    for path, action in paths_of(ref):
        before = await trail_of(client)
        answer = await client.get(path, headers={"User-Agent": "viewer/1"})
        assert answer.status_code < 300, (path, answer.text)
        new = (await trail_of(client))[len(before) :]
        assert [(one["action"], one["study"]) for one in new] == [(action, ref.study)], path
        assert new[0]["principal"] == "operator"
        assert (new[0]["agent"], new[0]["address"]) == ("viewer/1", "127.0.0.1")


async def test_frames_of_one_study_are_one_entry(client: httpx.AsyncClient) -> None:
    ref = await post(client)
    frame = f"/dicom-web/studies/{ref.study}/series/{ref.series}/instances/{ref.instance}/frames/1"
    for _ in range(20):
        assert (await client.get(frame)).status_code == 200
    assert len(await trail_of(client)) == 1


@pytest.mark.parametrize("most_hot", [1, 4096])
async def test_frames_from_two_machines_and_of_two_studies_are_entries_of_their_own(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, most_hot: int
) -> None:
    monkeypatch.setattr("app.web.audited._MOST_HOT", most_hot)
    refs = [await post(client), await post(client)]
    app = client._transport.app  # type: ignore[attr-defined]
    other = httpx.ASGITransport(app, client=("127.0.0.2", 5))
    async with httpx.AsyncClient(transport=other, base_url=client.base_url) as elsewhere:
        for _ in range(3):
            for ref in refs:
                at = f"/dicom-web/studies/{ref.study}/series/{ref.series}"
                frame = f"{at}/instances/{ref.instance}/frames/1"
                for one in (client, elsewhere):
                    assert (await one.get(frame)).status_code == 200
    found = {(one["study"], one["address"]) for one in await trail_of(client)}
    addresses = ("127.0.0.1", "127.0.0.2")
    assert found == {(ref.study, address) for ref in refs for address in addresses}
    assert len(await trail_of(client)) == 4


async def test_a_search_tells_by_which_attributes_and_by_no_value(
    client: httpx.AsyncClient,
) -> None:
    ref = await post(client)
    query = {"PatientName": "Doe^Jane", "00080060": "CT", "Secret Name": "x", "limit": "3"}
    await client.get("/dicom-web/studies", params=query)
    await client.get("/dicom-web/series", params={"StudyInstanceUID": ref.study})
    one, two = await trail_of(client, ("action", "searched"))
    assert one["asked"] == ["Modality", "PatientName"]
    assert "study" not in one
    assert (two["study"], two["asked"]) == (ref.study, ["StudyInstanceUID"])
    whole = (await client.get(AUDIT)).text
    assert "Doe" not in whole
    assert "Secret" not in whole


def test_names_of_no_attribute_are_not_kept() -> None:
    assert asked_for(b"Jane+Doe=1&00080020=2020&StudyInstanceUID=Doe&x") == (
        ("StudyDate", "StudyInstanceUID"),
        "",
    )


async def test_what_is_denied_is_in_the_trail_and_no_stranger_asks_unseen(
    served: Served,
) -> None:
    async with served(key=True) as client:
        nobody = await client.get("/dicom-web/studies/1.2.3", headers={"User-Agent": "scanner"})
        assert nobody.status_code == 401
        client.headers["Authorization"] = f"Bearer {KEY}"
        assert (await client.get("/dicom-web/studies/1.2.3/metadata")).status_code == 404
        (missing,) = await trail_of(client, ("action", "denied"))
        assert (missing["attempt"], missing["study"], missing["status"]) == ("viewed", "1.2.3", 404)
        assert missing["principal"] == "key"
        (stranger,) = await trail_of(client, ("action", "unauthenticated"))
        assert (stranger["principal"], stranger["agent"]) == ("", "scanner")
        assert "study" not in stranger  # a stranger chose it


async def test_reads_and_writes_of_a_study_stand_in_one_list(client: httpx.AsyncClient) -> None:
    ref, _ = await post(client), await post(client)
    await client.get(f"/dicom-web/studies/{ref.study}/metadata")
    await client.put(f"/api/v1/studies/{ref.study}/labels/teaching")
    found = await trail_of(client, ("study", ref.study))
    kinds = [one["action"] for one in found if one["action"] != "audit-used"]
    assert kinds == ["accepted", "viewed", "labelled"]
    assert found[0]["instances"] == 1
    assert "series" not in found[0]
    page = await client.get(AUDIT, params={"study": ref.study, "limit": 2})
    assert page.json()["more"] is True
    rest = await client.get(AUDIT, params={"study": ref.study, "after": page.json()["next"]})
    assert rest.json()["entries"][0]["action"] == "labelled"


async def test_who_reads_the_trail_is_in_it(client: httpx.AsyncClient) -> None:
    await client.get(AUDIT, params={"study": "1.2.3", "from": "2026-01-31T08:00"})
    used = await trail_of(client, ("action", "audit-used"))
    assert (used[0]["study"], used[0]["asked"]) == ("1.2.3", ["from", "study"])


async def test_the_trail_is_for_auditors_who_may_see_all(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking: list[Principal] = []

    async def principal(_: object, scope: dict[str, Any]) -> Principal:
        scope["fileroom.principal"] = asking[0]
        return asking[0]

    monkeypatch.setattr("app.web.auth.Identity.principal", principal)
    async with served() as client:
        for verbs, scope, status in (
            (frozenset(Verb) - {Verb.AUDIT}, Scope(), 403),
            (frozenset({Verb.AUDIT}), Scope(studies=frozenset({"1.2"})), 403),
            (frozenset({Verb.AUDIT}), Scope(), 200),
        ):
            asking[:] = [Principal("a", scope, verbs)]
            assert (await client.get(AUDIT)).status_code == status
        (denied,) = await trail_of(client, ("action", "denied"))
        assert denied["attempt"] == "audit-used"


@pytest.mark.parametrize(
    "query",
    [
        *("study=x", "from=soon", "to=2026-13-01", "after=1", "limit=0", "limit=1001", "action=X!"),
        "principle=ann",  # all of the trail would be taken for hers
    ],
)
async def test_what_cannot_be_read_is_400(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{AUDIT}?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_times_bound_the_answer(client: httpx.AsyncClient) -> None:
    await post(client)
    assert len(await trail_of(client, ("action", "accepted"), ("from", "2020-01-01"))) == 1
    assert await trail_of(client, ("action", "accepted"), ("from", "2120-01-01")) == []
    ended = (("action", "accepted"), ("to", "2020-01-01T00:00:00Z"))
    assert await trail_of(client, *ended) == []


async def fail(*_: object) -> None:
    raise Unavailable("the index does not answer")


async def test_reads_that_cannot_be_noted_are_answered_counted_and_loud(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = await post(client)
    before = await lost(client)
    monkeypatch.setattr(trail_module, "append_reads", fail)
    answer = await client.get(f"/dicom-web/studies/{ref.study}/metadata")
    assert answer.status_code == 200
    assert "1 reads are not in the audit trail" in caplog.text
    assert await lost(client) == before + 1


async def lost(client: httpx.AsyncClient) -> float:
    """Return the metric of what is lost."""
    text = (await client.get("/metrics")).text
    lines = [one for one in text.splitlines() if one.startswith("fileroom_audit_lost_total ")]
    return float(lines[0].split()[1])


async def test_where_the_trail_is_required_nothing_is_shown_without_it(
    database_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, audit=Audit(required=True))
    app: FastAPI = create_app(settings.with_database(database_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client,
    ):
        ref = await post(client)
        paths = [path for path, _ in paths_of(ref)]
        with monkeypatch.context() as patch:
            patch.setattr(trail_module, "append_reads", fail)
            for path in paths:
                answer = await client.get(path)
                assert answer.status_code == 503, path
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["retry-after"] == "5"
                assert (await client.head(path)).status_code == 503, path
            assert (await client.get("/health/live")).status_code == 200
        answers = await asyncio.gather(*map(client.get, paths))
        assert {answer.status_code for answer in answers} == {200}


def test_every_route_is_audited_or_shows_nothing(tmp_path: Any) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    paths = app.openapi()["paths"]
    shown = {DICOMWEB + path for path in SHOWS} | set(ELSEWHERE)
    got = {path for path, item in paths.items() if "get" in item}
    assert shown <= got
    unknown = {path for path in got - shown if not shows_nothing(path, DICOMWEB)}
    assert unknown == set(), "say in app/web/audited.py what they show"
    assert not any(shows_nothing(path, DICOMWEB) for path in shown)
