"""Storage commitment over HTTP (PS3.18 chapter 13)."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydicom import Dataset

from app.archive import committing
from app.dicom.commitment import COMMITTED
from app.dicom.limits import Limits
from app.dicom.xml_model import write_xml
from app.dicom.xml_reader import read_xml
from app.main import create_app
from app.setting_groups import Jobs
from app.settings import Settings
from tests.archive.test_commitment import ABSENT, alone, in_study, verdicts
from tests.dicom.test_commitment import asked, named
from tests.dicomweb.conftest import BASE
from tests.dicomweb.test_wado_rs import store
from tests.factories import make_dataset, make_part10, new_uid
from tests.waiting import until

JSON, XML = "application/dicom+json", "application/dicom+xml"
REQUESTS = "/commitment-requests"


@pytest.fixture
async def stored(client: httpx.AsyncClient) -> Dataset:
    """An Instance that is stored."""
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    return dataset


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Return a client of an application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)


@pytest.fixture
async def impatient(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an archive that answers each request before its result is there."""
    settings = Settings(data_dir=tmp_path, jobs=Jobs(commitment_seconds=0))
    app = create_app(settings.with_database(database_url))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def request(
    client: httpx.AsyncClient, body: Any, uid: str | None = None, **headers: str
) -> httpx.Response:
    """Post a request for storage commitment."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": JSON, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await client.post(f"{REQUESTS}/{uid or new_uid()}", content=content, headers=sent)


async def test_a_small_request_is_answered_at_once(  # K-01, K-02, K-04
    client: httpx.AsyncClient, stored: Dataset
) -> None:
    uid, absent = new_uid(), make_dataset()
    answer = await request(client, named(alone(stored), alone(absent)), uid)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == JSON
    result = Dataset.from_json(answer.text)
    (good,), (bad,) = result.ReferencedSOPSequence, result.FailedSOPSequence
    assert good.ReferencedSOPInstanceUID == stored.SOPInstanceUID
    assert (bad.ReferencedSOPInstanceUID, bad.FailureReason) == (absent.SOPInstanceUID, ABSENT)
    again = await client.get(f"{REQUESTS}/{uid}")
    assert (again.status_code, again.content) == (200, answer.content)


async def test_studies_may_be_named(client: httpx.AsyncClient, stored: Dataset) -> None:  # K-07
    answer = await request(client, [asked([in_study(stored)])])
    assert answer.status_code == 200
    (study,) = Dataset.from_json(answer.text).ReferencedStudySequence
    assert study.StudyInstanceUID == stored.StudyInstanceUID


async def test_a_long_request_is_answered_later(  # K-01, K-04
    impatient: httpx.AsyncClient,
) -> None:
    dataset = make_dataset()
    await store(impatient, make_part10(dataset))
    uid = new_uid()
    answer = await request(impatient, named(alone(dataset)), uid)
    assert (answer.status_code, answer.content) == (202, b"")
    assert int(answer.headers["retry-after"]) > 0

    async def is_done() -> bool:
        nonlocal answer
        answer = await impatient.get(f"{REQUESTS}/{uid}")
        assert answer.status_code in {200, 202}
        assert ("retry-after" in answer.headers) == (answer.status_code == 202)
        return answer.status_code == 200

    await until(is_done)
    assert verdicts(answer.content) == {dataset.SOPInstanceUID: COMMITTED}


async def test_a_result_that_is_not_there_yet_is_202(  # K-04
    impatient: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "take_commitment", _nothing)
    monkeypatch.setattr(committing, "list_waiting", _none_waiting)
    uid = new_uid()
    assert (await request(impatient, named(alone(make_dataset())), uid)).status_code == 202
    answer = await impatient.get(f"{REQUESTS}/{uid}")
    assert (answer.status_code, answer.content) == (202, b"")
    assert int(answer.headers["retry-after"]) > 0


async def _nothing(*_: object) -> None:
    return None


async def _none_waiting(*_: object) -> list[int]:
    return []


async def test_a_transaction_uid_that_is_in_use_is_a_conflict(  # K-03
    client: httpx.AsyncClient, stored: Dataset
) -> None:
    uid = new_uid()
    assert (await request(client, named(alone(stored)), uid)).status_code == 200
    answer = await request(client, named(alone(make_dataset())), uid)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert verdicts((await client.get(f"{REQUESTS}/{uid}")).content) == {
        stored.SOPInstanceUID: COMMITTED
    }


async def test_what_nobody_asked_for_is_404(client: httpx.AsyncClient) -> None:  # K-04
    answer = await client.get(f"{REQUESTS}/{new_uid()}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"00081199": {"vr": "SQ", "Value": [{}]}}',
        b'{"00081199": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}',
        b"[" * 5000,
    ],
)
async def test_what_is_malformed_is_400(client: httpx.AsyncClient, body: bytes) -> None:  # K-06
    uid = new_uid()
    assert (await request(client, body, uid)).status_code == 400
    assert (await client.get(f"{REQUESTS}/{uid}")).status_code == 404  # and may be used yet


@pytest.mark.parametrize("uid", ["1.2.x", "1" * 65, "1..2"])
async def test_what_is_no_transaction_uid_is_400(client: httpx.AsyncClient, uid: str) -> None:
    assert (await request(client, named(alone(make_dataset())), uid)).status_code == 400
    assert (await client.get(f"{REQUESTS}/{uid}")).status_code == 400


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "multipart/related", "application/dicom"]
)
async def test_another_media_type_is_415(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await request(client, named(alone(make_dataset())), content_type=content_type)
    assert answer.status_code == 415


async def test_what_cannot_be_answered_is_not_asked(client: httpx.AsyncClient) -> None:
    uid = new_uid()
    answer = await request(client, named(alone(make_dataset())), uid, accept="image/jpeg")
    assert answer.status_code == 406
    assert (await client.get(f"{REQUESTS}/{uid}")).status_code == 404


async def test_xml_is_taken_and_given(client: httpx.AsyncClient, stored: Dataset) -> None:
    body = write_xml(asked([alone(stored), in_study(stored)]))
    uid = new_uid()
    answer = await request(client, body, uid, content_type=XML, accept=XML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == XML
    plain = (await client.get(f"{REQUESTS}/{uid}", headers={"accept": "application/json"})).json()
    assert read_xml(answer.content, Limits()) == plain
    assert plain.keys() == {"00081199", "00081110"}
    broken = await request(client, body[:-9], content_type=XML)
    assert broken.status_code == 400


async def test_a_body_in_gzip_is_taken(client: httpx.AsyncClient, stored: Dataset) -> None:
    body = gzip.compress(json.dumps(named(alone(stored))).encode())
    assert (await request(client, body, content_encoding="gzip")).status_code == 200


async def test_too_many_instances_are_413(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, limits=Limits(commitment_references=2))
    app = create_app(settings.with_database(database_url))
    async with app.router.lifespan_context(app), client_of(app) as client:
        many = [alone(make_dataset()) for _ in range(3)]
        assert (await request(client, named(*many))).status_code == 413
        assert (await request(client, named(*many[:2]))).status_code == 200
        long = json.dumps(named(many[0])).encode() + b" " * 70_000
        assert (await request(client, long)).status_code == 413
        bomb = gzip.compress(long)
        assert (await request(client, bomb, content_encoding="gzip")).status_code == 413


async def test_the_capabilities_name_it(client: httpx.AsyncClient) -> None:
    described = (await client.options("/", headers={"accept": "application/json"})).json()
    resources = described["application"]["resources"]["resource"]
    (requests,) = [one for one in resources if one["path"] == "commitment-requests"]
    (transaction,) = requests["resource"]
    assert transaction["path"] == "{transaction}"
    assert sorted(one["name"] for one in transaction["method"]) == ["GET", "POST"]
