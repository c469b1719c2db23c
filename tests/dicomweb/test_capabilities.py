"""Retrieve Capabilities: what is named is offered, and what is offered is named."""

import re
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from fastapi import FastAPI

from tests.dicomweb.conftest import BASE

WADL = "application/vnd.sun.wadl+xml"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"
NAMES = {
    "{transaction}": "1.2.9",
    "{study}": "1.2.3",
    "{series}": "1.2.4",
    "{instance}": "1.2.5",
    "{frames}": "1",
    "{path}": "7FE00010",
    "{code}": "113001^DCM",
    "{uid}": "1.2.6",
    "{step}": "1.2.7",
}


async def capabilities(client: httpx.AsyncClient, accept: str) -> httpx.Response:
    answer = await client.options("", headers={"accept": accept})
    assert answer.status_code == 200
    return answer


def parse(answer: httpx.Response) -> ElementTree.Element:
    return ElementTree.fromstring(answer.content)  # noqa: S314 - of our own making


def tree_of(resources: list[dict[str, Any]], above: str = "") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in resources:
        path = f"{above}/{one['path']}"
        if "method" in one:
            found[path] = {method["name"] for method in one["method"]}
        found |= tree_of(one.get("resource", []), path)
    return found


@pytest.mark.parametrize("accept", ["*/*", WADL, "application/*", f"text/html, {WADL};q=0.1"])
async def test_the_base_describes_itself_in_wadl(client: httpx.AsyncClient, accept: str) -> None:
    answer = await capabilities(client, accept)  # C-01, C-02
    assert answer.headers["content-type"] == WADL
    root = parse(answer)
    assert root.tag == f"{NAMESPACE}application"
    (resources,) = root
    assert resources.tag == f"{NAMESPACE}resources"
    assert resources.get("base") == BASE
    paths = [resource.get("path") for resource in resources]
    assert {"studies", "series", "instances"} <= set(paths)
    parameters = {one.get("name") for one in root.iter(f"{NAMESPACE}param")}
    assert {"fuzzymatching", "includefield", "limit"} <= parameters  # C-06
    methods = {method.get("name") for method in root.iter(f"{NAMESPACE}method")}
    assert methods == {"GET", "POST", "PUT", "DELETE"}
    types = {one.get("mediaType") for one in root.iter(f"{NAMESPACE}representation")}
    assert {"application/dicom+json", 'multipart/related; type="application/dicom"'} <= types


async def test_wadl_and_json_say_the_same(client: httpx.AsyncClient) -> None:  # C-03
    answer = await capabilities(client, "application/json")
    assert answer.headers["content-type"] == "application/json"
    described = answer.json()["application"]["resources"]
    assert described["base"] == BASE

    def of(element: ElementTree.Element, above: str = "") -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for one in element.findall(f"{NAMESPACE}resource"):
            path = f"{above}/{one.get('path')}"
            names = {str(m.get("name")) for m in one.findall(f"{NAMESPACE}method")}
            found |= ({path: names} if names else {}) | of(one, path)
        return found

    root = parse(await capabilities(client, WADL))
    assert of(root[0]) == tree_of(described["resource"])


async def test_what_is_named_is_offered_and_nothing_else(
    app: FastAPI, client: httpx.AsyncClient
) -> None:  # C-04, C-05
    described = (await capabilities(client, "application/json")).json()["application"]["resources"]
    for template, methods in tree_of(described["resource"]).items():
        path = re.sub(r"\{\w+\}", lambda name: NAMES[name[0]], template)
        options = await client.options(path)
        assert options.status_code == 204, path
        allowed = set(options.headers["allow"].split(", ")) - {"HEAD", "OPTIONS"}
        assert allowed == methods, path
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            answer = await client.request(method, path)
            assert (answer.status_code == 405) == (method not in methods), (method, path)


async def test_another_form_is_406(client: httpx.AsyncClient) -> None:
    answer = await client.options("", headers={"accept": "text/html"})
    assert answer.status_code == 406
    assert answer.json()["offered"] == [WADL, "application/json"]


async def test_a_preflight_is_told_from_it_by_its_header(client: httpx.AsyncClient) -> None:
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "DELETE"}
    answer = await client.options("", headers=headers)  # C-07
    assert answer.status_code == 200
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert answer.content != b""
    assert "wadl" not in answer.headers["content-type"]
    plain = await client.options("", headers={"origin": "http://localhost:3000"})
    assert plain.headers["content-type"] == WADL


async def test_a_refused_preflight_is_a_problem(client: httpx.AsyncClient) -> None:
    headers = {"origin": "http://evil.example", "access-control-request-method": "GET"}
    answer = await client.options("/studies", headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "Disallowed CORS origin"
