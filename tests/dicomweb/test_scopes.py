"""Scopes over HTTP: the header of a bridge, two tenants, rights that change meanwhile."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.archive.audit import all_entries
from app.archive.context import Archive
from app.archive.findings import list_findings
from app.archive.ingest_labels import add_label_rule
from app.archive.labels import labels_of
from app.dicom.uids import InstanceRef
from app.errors import Unauthenticated
from app.index.audit_log import Wanted
from app.index.ingest_rules import Conditions
from app.index.places import locate_instance
from app.rights import Principal, Role, Scope, principal_of
from app.web.acting import CALLING_AE
from app.web.auth import Credentials, Identity
from tests.archive.test_repair import lose
from tests.factories import make_dataset, make_part10, new_uid
from tests.waiting import until

OPERATOR = Principal("operator")
API = "http://127.0.0.1:8080/api/v1"


class Known:
    """A source of identity that knows callers by the value of a bearer key."""

    def __init__(self) -> None:
        self.callers: dict[str, Principal] = {}

    async def principal(self, given: Credentials, _scope: Mapping[str, Any]) -> Principal | None:
        if given.value not in self.callers:
            raise Unauthenticated("revoked")
        return self.callers[given.value]


@pytest.fixture
async def known(app: FastAPI) -> Known:
    known = Known()
    app.state.identity = Identity(sources=(known,), origins=frozenset())
    async with app.state.archive.index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    return known


def by(name: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}", **headers}


async def post(client: httpx.AsyncClient, data: bytes, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/dicom", **headers}
    return await client.post("/studies", content=data, headers=headers)


async def test_a_service_says_for_which_ae_it_stores_and_nobody_else_does(
    app: FastAPI, client: httpx.AsyncClient, known: Known
) -> None:
    known.callers = {
        "bridge": principal_of("bridge", "key", [Role.SERVICE], Scope()),
        "script": principal_of("script", "key", [Role.CURATOR], Scope()),
    }
    await add_label_rule(app.state.archive, OPERATOR, "echo", Conditions(calling_ae="ECHO1"))
    for name, sent, labels in (
        ("bridge", " ECHO1 ", ["echo"]),
        ("bridge", "ECHO2", []),
        ("script", "ECHO1", []),
    ):
        study = new_uid()
        headers = by(name, **{CALLING_AE: sent})
        answer = await post(client, make_part10(StudyInstanceUID=study), **headers)
        assert answer.status_code == 200, answer.text
        assert await labels_of(app.state.archive, OPERATOR, study) == labels


async def test_the_ae_that_a_service_acts_for_stands_in_the_log(
    app: FastAPI, client: httpx.AsyncClient, known: Known
) -> None:
    known.callers = {
        "bridge": principal_of("bridge", "token", [Role.SERVICE], Scope()),
        "script": principal_of("script", "key", [Role.CURATOR], Scope()),
    }
    await add_label_rule(app.state.archive, OPERATOR, "bridged", Conditions(sender="bridge"))
    study = new_uid()
    sent = make_part10(StudyInstanceUID=study)
    assert (await post(client, sent, **by("bridge", **{CALLING_AE: "ECHO1"}))).status_code == 200
    assert await labels_of(app.state.archive, OPERATOR, study) == ["bridged"]
    path = f"/studies/{study}/metadata"
    for name, ae in (("bridge", "CT 2"), ("bridge", ""), ("script", "ECHO1")):
        headers = by(name, **({CALLING_AE: ae} if ae else {}))
        assert (await client.get(path, headers=headers)).status_code == 200
    wanted = Wanted(study=study, kinds=("accepted", "viewed"))
    entries = [one async for one in all_entries(app.state.archive, OPERATOR, wanted)]
    assert [one.actor for one in entries] == [
        *("bridge (AE ECHO1)", "bridge (AE CT 2)", "bridge", "script")
    ]


@pytest.mark.parametrize("title", ["X" * 17, "A\\B", "\u00c4"])
async def test_what_is_no_ae_title_is_refused(
    client: httpx.AsyncClient, known: Known, title: str
) -> None:
    known.callers = {"bridge": principal_of("bridge", "key", [Role.SERVICE], Scope())}
    sent = [(name.encode(), value.encode()) for name, value in by("bridge").items()]
    headers = [*sent, (CALLING_AE.encode(), title.encode("latin-1"))]
    assert (await client.get("/studies", headers=headers)).status_code == 400


async def test_two_tenants_have_the_same_uid_each_with_its_own_bytes(
    client: httpx.AsyncClient, known: Known
) -> None:
    known.callers = {name: Principal(name, Scope(n)) for n, name in ((1, "one"), (2, "two"))}
    names: dict[str, Any] = {
        name: new_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    study, series, instance = names.values()
    path = f"/studies/{study}/series/{series}/instances/{instance}"
    tags, bodies = {}, {}
    for name in ("one", "two"):
        body = make_part10(**names, PatientID=name, Rows=8, Columns=8)
        assert (await post(client, body, **by(name))).status_code == 200
        accept = {"Accept": "application/dicom"}
        answers = [await client.get(path, headers=by(name, **accept)) for _ in range(2)]
        assert [answer.content for answer in answers] == [body] * 2
        tags[name], bodies[name] = answers[0].headers["etag"], body
        for part in ("metadata", "rendered", "thumbnail", "frames/1"):
            assert (await client.get(f"{path}/{part}", headers=by(name))).status_code == 200
        (found,) = (await client.get("/studies", headers=by(name))).json()
        assert found["00100020"]["Value"] == [name]
    for name, other in (("one", "two"), ("two", "one")):
        headers = by(name, **{"If-None-Match": tags[other], "Accept": "application/dicom"})
        assert (await client.get(path, headers=headers)).content == bodies[name]
    assert (await client.delete(f"/studies/{study}", headers=by("two"))).status_code == 204
    assert (await client.get(path, headers=by("one"))).status_code == 200
    assert (await client.get(path, headers=by("two"))).status_code == 410


async def test_what_one_has_in_a_cache_is_not_confirmed_after_the_right_is_gone(
    client: httpx.AsyncClient, known: Known, app: FastAPI
) -> None:
    known.callers = {"a": Principal("a", Scope(labels=frozenset({"a"})))}
    names: dict[str, Any] = {
        name: new_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    study, series, instance = names.values()
    await post(client, make_part10(**names), **by("a"))
    path = f"/studies/{study}/series/{series}/instances/{instance}"
    paths = [f"{path}{part}" for part in ("", "/metadata", "/rendered", "/frames/1", "/thumbnail")]
    paths += [f"/studies/{study}{part}" for part in ("", "/metadata", "/rendered", "/thumbnail")]
    tags = [(await client.get(one, headers=by("a"))).headers["etag"] for one in paths]
    for one, tag in zip(paths, tags, strict=True):
        again = await client.get(one, headers=by("a", **{"If-None-Match": tag}))
        assert again.status_code == 304, one
    known.callers["admin"] = OPERATOR
    taken = await client.delete(f"{API}/studies/{study}/labels/a", headers=by("admin"))
    assert taken.status_code == 204
    for one, tag in zip(paths, tags, strict=True):
        again = await client.get(one, headers=by("a", **{"If-None-Match": tag}))
        assert again.status_code == 404, one


async def test_who_waits_for_changes_is_asked_again_before_it_is_told(
    client: httpx.AsyncClient, known: Known
) -> None:
    known.callers = {"a": Principal("a"), "b": Principal("b"), "admin": OPERATOR}
    url = f"{API}/changes"
    waiting = [
        asyncio.create_task(client.get(url, params={"wait": 20}, headers=by(name)))
        for name in ("a", "b")
    ]
    await asyncio.sleep(0.5)
    del known.callers["a"]
    known.callers["b"] = Principal("b", Scope(labels=frozenset({"b"})))
    await post(client, make_part10(), **by("admin"))
    revoked, narrowed = await asyncio.gather(*waiting)
    assert revoked.status_code == 401
    assert narrowed.json() == {"changes": [], "next": "0.0"}


async def test_warnings_and_pages_count_what_the_caller_sees(
    client: httpx.AsyncClient, known: Known
) -> None:
    known.callers = {
        "all": OPERATOR,
        "a": Principal("a", Scope(labels=frozenset({"a"}))),
        "b": Principal("b", Scope(labels=frozenset({"b"}))),
    }
    for name, count in (("a", 3), ("b", 1), ("all", 2)):
        for _ in range(count):
            assert (await post(client, make_part10(), **by(name))).status_code == 200
    for name, more in (("all", 5), ("a", 2), ("b", 0)):
        for path in ("/studies", "/series", "/instances"):
            answer = await client.get(path, params={"limit": 1}, headers=by(name))
            assert len(answer.json()) == 1
            warning = answer.headers.get("warning", "")
            assert (f"There are {more} additional results" in warning) is bool(more), warning
        beyond = {"limit": 5, "offset": more + 1}
        page = await client.get("/studies", params=beyond, headers=by(name))
        assert page.status_code == 204


async def test_an_uploader_gets_one_answer_for_each_uid_that_is_taken(
    client: httpx.AsyncClient, known: Known
) -> None:
    known.callers = {
        "admin": OPERATOR,
        "modality": principal_of("modality", "key", [Role.UPLOADER], Scope()),
    }
    told = set()
    for state in ("same", "other", "rejected"):
        uid, study = new_uid(), new_uid()
        names: dict[str, Any] = {"SOPInstanceUID": uid, "StudyInstanceUID": study}
        data = make_part10(**names)
        assert (await post(client, data, **by("admin"))).status_code == 200
        if state == "rejected":
            path = f"/studies/{study}/reject/113001^DCM"
            assert (await client.post(path, headers=by("admin"))).status_code == 204
        again = data if state == "same" else make_part10(**names, Rows=4, Columns=4)
        answer = await post(client, again, **by("modality"))
        assert answer.status_code == 409
        told.add(answer.text.replace(uid, "*").replace(study, "*"))
    (text,) = told
    assert "this SOP Instance UID is taken" in text


async def test_of_a_study_that_is_not_in_sight_no_byte_is_read(
    client: httpx.AsyncClient, known: Known, app: FastAPI
) -> None:
    known.callers = {"in": OPERATOR, "out": Principal("out", Scope(labels=frozenset({"x"})))}
    dataset = make_dataset()
    ref = InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    await post(client, make_part10(dataset), **by("in"))
    archive: Archive = app.state.archive
    key = (await locate_instance(archive.index, Scope(), ref)).object_key
    await lose(archive, "first", key, "bit")
    path = f"/studies/{ref.study}/series/{ref.series}/instances/{ref.instance}"
    parts = ("", "/metadata", "/rendered", "/frames/1", "/thumbnail", "/bulkdata/7FE00010")
    wado = f"{API.removesuffix('/api/v1')}/wado?requestType=WADO&studyUID={ref.study}"
    urls = [path + part for part in parts]
    urls += [f"{wado}&seriesUID={ref.series}&objectUID={ref.instance}"]
    for url in (*urls, f"{API}{path}/original"):
        assert (await client.get(url, headers=by("out"))).status_code == 404, url
    assert await list_findings(archive, OPERATOR, 0, 10) == []
    assert (await client.get(path + "/frames/1", headers=by("in"))).status_code == 500

    async def is_found() -> bool:
        return bool(await list_findings(archive, OPERATOR, 0, 10))

    await until(is_found)
