"""Errors as they reach a client (G-11 to G-14, G-24; RFC 9457)."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from app import errors
from app.web.accept import json_accepted
from app.web.conditions import read_conditions
from app.web.faults import BrokenOff, Faults
from app.web.problems import add_problem_handlers
from app.web.responses import dicom_json, not_modified


def make_app() -> FastAPI:
    app = FastAPI()
    add_problem_handlers(app)
    app.add_middleware(Faults)

    @app.get("/raise/{name}")
    async def raise_it(name: str) -> None:
        if name == "NotFound":
            raise errors.NotFound("Study", "1.2.3")
        if name == "NotAcceptable":
            raise errors.NotAcceptable("Only these", ["a/b"])
        if name == "fault":
            raise ValueError("secret/path and SELECT")
        raise getattr(errors, name)("words")

    @app.get("/number")
    async def number(n: int) -> int:
        return n

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            raise errors.Unavailable("gone")

        return StreamingResponse(chunks())

    @app.get("/json")
    async def json(request: Request, size: int) -> Response:
        if read_conditions(request.scope["headers"]).knows("tag"):
            return not_modified('"tag"')
        return dicom_json(request, b"x" * size, json_accepted(request), {"ETag": '"tag"'})

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("NotFound", 404),
        ("Unauthenticated", 401),
        ("Forbidden", 403),
        ("InvalidUID", 400),
        ("NotAcceptable", 406),
        ("UnsupportedMediaType", 415),
        ("TooLarge", 413),
        ("TooMany", 429),
        ("StorageFull", 507),
        ("Unavailable", 503),
    ],
)
async def test_an_error_is_a_problem_document(
    client: httpx.AsyncClient, name: str, status: int
) -> None:
    response = await client.get(f"/raise/{name}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.json()["status"] == status
    assert response.json()["detail"]


async def test_busy_says_when_to_ask_again(client: httpx.AsyncClient) -> None:  # G-14
    assert (await client.get("/raise/Unavailable")).headers["retry-after"] == "5"


async def test_unauthenticated_says_how(client: httpx.AsyncClient) -> None:
    assert "Bearer" in (await client.get("/raise/Unauthenticated")).headers["www-authenticate"]


async def test_not_acceptable_lists_what_would_do(client: httpx.AsyncClient) -> None:
    assert (await client.get("/raise/NotAcceptable")).json()["offered"] == ["a/b"]


async def test_a_fault_says_nothing_but_a_request_id(client: httpx.AsyncClient) -> None:  # G-24
    response = await client.get("/raise/fault")
    assert response.status_code == 500
    assert set(response.json()) == {"title", "status", "detail", "request_id"}
    assert "SELECT" not in response.text


async def test_an_unknown_path_and_a_wrong_method_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).json()["status"] == 404
    response = await client.delete("/number")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"  # G-10


async def test_a_bad_parameter_is_400_and_named(client: httpx.AsyncClient) -> None:  # G-12
    response = await client.get("/number?n=x")
    assert response.status_code == 400
    assert response.json()["detail"].startswith("n: ")


async def test_an_error_in_mid_stream_aborts(client: httpx.AsyncClient) -> None:
    with pytest.raises(BrokenOff):
        await client.get("/stream")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),  # M-19
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ("text/html, application/json;q=0.1", "application/json"),
    ],
)
async def test_json_comes_as_asked(
    client: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    response = await client.get("/json?size=5", headers={"accept": accept})
    assert response.headers["content-type"] == content_type  # CLIENTS 6: nothing behind it
    assert "accept" in response.headers["vary"].lower()


async def test_the_accept_parameter_beats_the_header(client: httpx.AsyncClient) -> None:  # G-06
    headers = {"accept": "application/dicom+json"}
    response = await client.get("/json?size=5&accept=application/json", headers=headers)
    assert response.headers["content-type"] == "application/json"
    # an unescaped plus arrives as a space
    response = await client.get("/json?size=5&accept=application/dicom+json")
    assert response.headers["content-type"] == "application/dicom+json"


async def test_an_unsupported_accept_parameter_falls_back(client: httpx.AsyncClient) -> None:
    headers = {"accept": "application/json"}  # G-07
    response = await client.get("/json?size=5&accept=image/png", headers=headers)
    assert response.headers["content-type"] == "application/json"


async def test_nothing_acceptable_is_406(client: httpx.AsyncClient) -> None:  # G-03
    response = await client.get("/json?size=5", headers={"accept": "text/html"})
    assert response.status_code == 406
    assert "application/dicom+json" in response.json()["offered"]


@pytest.mark.parametrize(
    ("offered", "size", "zipped"),
    [
        ("gzip", 5000, True),
        ("br, gzip;q=0.5", 5000, True),
        ("*", 5000, True),
        ("gzip", 10, False),
        ("gzip;q=0", 5000, False),
        ("gzip; q=0.0", 5000, False),
        ("br", 5000, False),
        ("", 5000, False),
    ],
)
async def test_json_is_zipped_where_that_is_taken(
    client: httpx.AsyncClient, offered: str, size: int, zipped: bool
) -> None:  # G-18
    response = await client.get(f"/json?size={size}", headers={"accept-encoding": offered})
    assert response.text == "x" * size
    assert ("content-encoding" in response.headers) is zipped
    assert "accept-encoding" in response.headers["vary"].lower()


@pytest.mark.parametrize(
    ("given", "status"), [('"tag"', 304), ('W/"tag", "b"', 304), ("*", 304), ('"other"', 200)]
)
async def test_what_the_client_has_is_not_sent_again(
    client: httpx.AsyncClient, given: str, status: int
) -> None:  # G-16
    response = await client.get("/json?size=5", headers={"if-none-match": given})
    assert response.status_code == status
    assert response.headers["etag"] == '"tag"'
