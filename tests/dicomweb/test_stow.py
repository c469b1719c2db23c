"""STOW-RS over real connections to a real server."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus

import httpx
import pytest
import uvicorn
from dicomweb_client import DICOMwebClient
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from app.archive.context import Archive
from app.dicom.limits import Limits
from app.dicom.store_report import FailureReason
from app.dicomweb import stow
from app.web.auth import Identity
from app.web.faults import Faults
from app.web.problems import add_problem_handlers
from tests.factories import make_dataset, make_part10, new_uid

BASE = "http://archive.example/dicom-web"
DICOM = "application/dicom"
RELATED = f'multipart/related; type="{DICOM}"; boundary=b'


@pytest.fixture
def app(archive: Archive) -> FastAPI:
    app = FastAPI()
    app.state.archive, app.state.identity, app.state.base_url = archive, Identity(), BASE
    app.include_router(stow.router, prefix="/dicom-web")
    add_problem_handlers(app)
    app.add_middleware(Faults)
    return app


@pytest.fixture
async def port(app: FastAPI) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, http="httptools")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    number: int = server.servers[0].sockets[0].getsockname()[1]
    yield number
    server.should_exit = True
    await serving


@pytest.fixture
async def client(port: int) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://127.0.0.1:{port}/dicom-web"
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        yield client


def multipart(*parts: bytes, content_type: str = DICOM) -> bytes:
    header = f"\r\n--b\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(header + part for part in parts) + b"\r\n--b--\r\n"


async def post(
    client: httpx.AsyncClient, body: bytes, path: str = "/studies", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, content=body, headers={"content-type": RELATED, **named})


async def rows(archive: Archive) -> int:
    return len(await archive.index.fetch("SELECT 1 FROM instance"))


async def test_an_instance_is_stored_and_named_with_its_url(  # S-01, S-04, S-08, S-10
    client: httpx.AsyncClient,
) -> None:
    dataset = make_dataset()
    answer = await post(client, multipart(make_part10(dataset)))
    assert answer.status_code == HTTPStatus.OK
    assert answer.headers["content-type"] == "application/dicom+json"
    study = f"{BASE}/studies/{dataset.StudyInstanceUID}"
    series = f"{study}/series/{dataset.SeriesInstanceUID}"
    assert answer.json() == {
        "00081190": {"vr": "UR", "Value": [study]},
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [dataset.SOPClassUID]},
                    "00081155": {"vr": "UI", "Value": [dataset.SOPInstanceUID]},
                    "00081190": {
                        "vr": "UR",
                        "Value": [f"{series}/instances/{dataset.SOPInstanceUID}"],
                    },
                }
            ],
        },
    }


async def test_a_single_part_is_taken_as_it_is(client: httpx.AsyncClient) -> None:  # S-28
    answer = await post(client, make_part10(), content_type=DICOM)
    assert answer.status_code == HTTPStatus.OK


async def test_a_study_with_one_bad_instance_is_202(client: httpx.AsyncClient) -> None:  # S-05
    answer = await post(client, multipart(make_part10(), b"junk", make_part10()[:-10]))
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert answer.json()["00081198"]["Value"][0]["00081197"] == {"vr": "US", "Value": [0xC001]}
    assert answer.json()["0008119A"]["Value"][0]["00081197"] == {"vr": "US", "Value": [0xC000]}


async def test_with_none_stored_the_answer_is_409(client: httpx.AsyncClient) -> None:  # S-06, S-09
    answer = await post(client, multipart(make_part10()[:-10]))
    assert answer.status_code == HTTPStatus.CONFLICT
    assert answer.json()["00081190"] == {"vr": "UR"}
    assert "00081199" not in answer.json()


async def test_only_instances_of_the_named_study_are_stored(  # S-02, S-03
    client: httpx.AsyncClient,
) -> None:
    uid = new_uid()
    mine, other = make_part10(StudyInstanceUID=uid), make_part10()
    answer = await post(client, multipart(mine, other), f"/studies/{uid}")
    assert answer.status_code == HTTPStatus.ACCEPTED
    answer = await post(client, multipart(other), f"/studies/{uid}")
    assert answer.status_code == HTTPStatus.CONFLICT


@pytest.mark.parametrize("path", ["/studies/abc", "/studies/..%2f..", "/studies/" + "1" * 65])
async def test_a_study_that_is_no_uid_is_400(  # Z-01
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await post(client, multipart(make_part10()), path)
    assert answer.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related; boundary=b",  # S-29
        "multipart/related; type=application/dicom; boundary=b",
        'Multipart/Related;boundary="b";TYPE="Application/DICOM"',
    ],
)
async def test_the_forms_of_content_type_that_clients_send(
    client: httpx.AsyncClient, content_type: str
) -> None:
    answer = await post(client, multipart(make_part10()), content_type=content_type)
    assert answer.status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content_type": "application/json"}, b"{}"),
        ({"content_type": "text/plain"}, b"x"),
        ({"content_type": ""}, b"x"),
        ({"content_type": "multipart/form-data; boundary=b"}, multipart(b"x")),
        ({"content_type": RELATED.replace("/dicom", "/pdf")}, multipart(b"x")),
        ({"content_encoding": "br"}, b"x"),  # G-19
        ({"content_encoding": "gzip, gzip"}, gzip.compress(multipart(b"x"), mtime=0)),
    ],
)
async def test_other_media_types_are_415_and_nothing_is_stored(  # S-07, G-13
    client: httpx.AsyncClient, archive: Archive, headers: dict[str, str], body: bytes
) -> None:
    answer = await post(client, multipart(make_part10())[:-7] + body, **headers)
    assert answer.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert answer.headers["content-type"] == "application/problem+json"
    assert await rows(archive) == 0


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        f"{DICOM}\r\nContent-Transfer-Encoding: base64",
        f"{DICOM}\r\nContent-Encoding: gzip",
    ],
)
async def test_a_part_that_is_no_instance_fails_alone(  # S-05, S-22
    client: httpx.AsyncClient, archive: Archive, content_type: str
) -> None:
    foreign = multipart(b"x", content_type=content_type)[:-7]
    answer = await post(client, foreign + multipart(make_part10()))
    assert answer.status_code == HTTPStatus.ACCEPTED
    (other,) = answer.json()["0008119A"]["Value"]
    assert other["00081197"]["Value"] == [FailureReason.CANNOT_UNDERSTAND]
    assert "are taken" in other["00000902"]["Value"][0]
    assert await rows(archive) == 1
    alone = await post(client, multipart(b"x", content_type=content_type))
    assert alone.status_code == HTTPStatus.CONFLICT


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/related", multipart(make_part10())),
        (RELATED, multipart(make_part10())[:-8]),
        (RELATED, multipart(make_part10()).replace(b"--b", b"--c")),
        (RELATED, b""),
        (RELATED, b"--b--\r\n"),
        (DICOM, b""),
        (RELATED.replace("=b", '=""'), multipart(make_part10())),
    ],
)
async def test_a_malformed_request_is_400_and_nothing_is_stored(  # S-23, S-24
    client: httpx.AsyncClient, archive: Archive, content_type: str, body: bytes
) -> None:
    answer = await post(client, body, content_type=content_type)
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert await rows(archive) == 0
    assert [key async for key in archive.objects.keys("t/")] == []


async def test_what_the_client_does_not_accept_is_406_before_anything_is_stored(
    client: httpx.AsyncClient, archive: Archive
) -> None:
    answer = await post(client, multipart(make_part10()), accept="image/jpeg")
    assert answer.status_code == HTTPStatus.NOT_ACCEPTABLE
    assert await rows(archive) == 0


async def test_a_thousand_empty_parts_are_answered(client: httpx.AsyncClient) -> None:  # Z-09
    answer = await post(client, multipart(*[b""] * 1000))
    assert answer.status_code == HTTPStatus.CONFLICT
    assert len(answer.json()["0008119A"]["Value"]) == 1000


async def test_giant_part_headers_are_413(client: httpx.AsyncClient) -> None:  # Z-09
    answer = await post(client, multipart(b"x", content_type="x/" + "y" * 100_000))
    assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_request_over_the_limit_is_413(
    client: httpx.AsyncClient, app: FastAPI, archive: Archive, chunked: bool
) -> None:
    app.state.archive = replace(archive, limits=Limits(request_bytes=1000))

    async def chunks() -> AsyncIterator[bytes]:
        yield multipart(make_part10(Rows=100, Columns=100))

    content = chunks() if chunked else multipart(make_part10(Rows=100, Columns=100))
    answer = await client.post("/studies", content=content, headers={"content-type": RELATED})
    assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert await rows(archive) == 0


async def test_chunked_bodies_are_taken(client: httpx.AsyncClient) -> None:  # G-20
    async def chunks() -> AsyncIterator[bytes]:
        body = multipart(make_part10(), make_part10())
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    answer = await client.post("/studies", content=chunks(), headers={"content-type": RELATED})
    assert answer.status_code == HTTPStatus.OK


async def test_put_is_no_store(client: httpx.AsyncClient) -> None:  # S-34
    answer = await client.put("/studies", content=multipart(make_part10()))
    assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED


async def test_a_long_report_goes_out_in_gzip(client: httpx.AsyncClient) -> None:  # G-18
    answer = await post(client, multipart(*[make_part10() for _ in range(20)]))
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["00081199"]["Value"]) == 20


async def test_dicomweb_client_stores_and_reads_the_report(port: int) -> None:
    datasets = [dcmread(DicomBytesIO(make_part10())) for _ in range(3)]
    bad = dcmread(DicomBytesIO(make_part10()))
    bad.StudyInstanceUID = ""
    client = DICOMwebClient(f"http://127.0.0.1:{port}/dicom-web")
    report = await asyncio.to_thread(client.store_instances, [*datasets, bad])
    stored = {item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence}
    assert stored == {dataset.SOPInstanceUID for dataset in datasets}
    assert report.FailedSOPSequence[0].FailureReason == 0xA900


# --- over bare sockets: what no client library would send --------------------------------------


async def speak(port: int, *sent: bytes, wait: float = 0.05) -> tuple[bytes, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in sent:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(wait)
    answer = b""
    while not answer.endswith(b"}"):
        chunk = await asyncio.wait_for(reader.read(65536), 10)
        answer += chunk
        if not chunk:
            break
    return answer, writer


def head(length: int, *lines: str, content_type: str = RELATED) -> bytes:
    fields = [
        "POST /dicom-web/studies HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
        *lines,
    ]
    return "\r\n".join([*fields, "", ""]).encode()


async def test_expect_100_continue_is_heeded(port: int) -> None:  # S-32
    body = multipart(make_part10())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(len(body), "Expect: 100-continue"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_an_error_instead_of_100_closes_the_connection(port: int) -> None:  # G-30
    answer, writer = await speak(port, head(1000, "Expect: 100-continue", content_type="x/y"))
    assert answer.startswith(b"HTTP/1.1 415")
    assert b"connection: close" in answer.lower()
    writer.close()


@pytest.mark.parametrize(
    ("line", "status"), [("/dicom-web/nowhere", b"404"), ("/dicom-web/studies", b"403")]
)
async def test_an_error_before_the_body_is_looked_at_closes_too(  # G-30
    port: int, line: str, status: bytes
) -> None:
    asked = head(1000, "Expect: 100-continue", "X-Forwarded-For: 10.0.0.1")
    answer, writer = await speak(port, asked.replace(b"/dicom-web/studies", line.encode()))
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.lower().count(b"connection: close") == 1
    writer.close()


async def test_after_an_early_error_the_connection_is_in_sync(port: int) -> None:  # G-30
    body = b"x" * 3_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(head(len(body), content_type="text/plain") + body)
        await writer.drain()
        answer = await reader.readuntil(b"}")
        assert answer.startswith(b"HTTP/1.1 415")
        assert b"connection: close" not in answer.lower()
    writer.close()


async def test_a_client_that_breaks_off_leaves_nothing(port: int, archive: Archive) -> None:
    body = multipart(make_part10(), make_part10(), make_part10())
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(len(body)) + body[:-20])
    await writer.drain()
    await asyncio.sleep(0.3)
    writer.close()
    await asyncio.sleep(0.3)
    assert await rows(archive) == 0
    assert [key async for key in archive.objects.keys("t/")] == []
    assert list(archive.staging.directory.iterdir()) == []
