"""The busiest routes go past the framework; they answer as its own routes do."""

import httpx
import pytest
from fastapi import FastAPI

from app.dicomweb import qido, rendered, stow
from tests.dicomweb.test_wado_rs import path_of
from tests.factories import make_dataset, make_part10
from tests.multipart import RELATED, make_multipart

KINDS = ("rendered", "thumbnail")


@pytest.fixture
async def framework(app: FastAPI) -> httpx.AsyncClient:
    """A client of FastAPI's routes alone."""
    transport = httpx.ASGITransport(app.route_request)  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080/dicom-web")


async def test_both_ways_answer_alike(
    client: httpx.AsyncClient, framework: httpx.AsyncClient
) -> None:
    dataset = make_dataset()
    body, headers = make_multipart(make_part10(dataset)), {"content-type": RELATED}
    study = f"/studies/{dataset.StudyInstanceUID}"
    for path in ("/studies", study):
        one = await client.post(path, content=body, headers=headers)
        other = await framework.post(path, content=body, headers=headers)
        assert (one.status_code, one.content) == (other.status_code, other.content)
    series = path_of(dataset).rpartition("/instances")[0]
    for path in ("/studies?limit=1", f"{study}/series", f"{series}/instances", "/studies?limit=x"):
        one, other = await client.get(path), await framework.get(path)
        assert (one.status_code, one.content) == (other.status_code, other.content)
    image = path_of(dataset)
    pictures = [f"{part}/{kind}" for part in (image, f"{image}/frames/1") for kind in KINDS]
    wrong = [
        f"{image}/rendered?window=1",
        f"{image}/frames/0/rendered",
        f"{image}/frames/2/rendered",
    ]
    for path in (*pictures, f"{series}/thumbnail", *wrong):
        one, other = await client.get(path), await framework.get(path)
        assert (one.status_code, one.content) == (other.status_code, other.content)
        assert one.headers["etag"] == other.headers["etag"] if one.is_success else one.is_error


@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.3"])
async def test_a_stranger_stores_nothing(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b"x", headers={"host": "evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/studies/x"),
        ("GET", "/studies/x/series"),
        ("GET", "/studies/1/series/2/instances/x/rendered"),
        ("GET", "/studies/1/series/2/instances/x/frames/1/rendered"),
        ("GET", "/studies/1/series/x/instances"),
    ],
)
async def test_a_name_that_is_no_uid_is_400(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, content=b"")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_every_direct_route_is_in_the_contract(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    for route in (*stow.DIRECT, *qido.DIRECT, *rendered.DIRECT):
        assert route.method.lower() in paths[f"/dicom-web{route.template}"]
