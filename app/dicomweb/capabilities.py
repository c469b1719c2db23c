"""Retrieve Capabilities (PS3.18 §8.9, Annex H): what this server offers, made from its contract.

The contract (OpenAPI) is made from the routes, so a method is named here if and only if it is
offered. An OPTIONS with `Access-Control-Request-Method` is a browser's preflight and never gets
here (C-07).
"""

from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

import orjson
from fastapi import APIRouter, Request, Response

from app.errors import NotAcceptable
from app.web import contract
from app.web.accept import wanted_forms
from app.web.deps import BaseUrlDep
from app.web.responses import PRIVATE

router = APIRouter(tags=["Capabilities"])

WADL = "application/vnd.sun.wadl+xml"
JSON = "application/json"
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_METHODS = ("get", "post", "put", "delete")

Tree = dict[str, Any]


@router.options("/", include_in_schema=False)
@router.options(
    "",
    responses={
        200: {"description": "All resources and methods", "content": {WADL: {}, JSON: {}}},
        **contract.OFFER,
    },
    response_class=Response,
)
async def retrieve_capabilities(request: Request, base_url: BaseUrlDep) -> Response:
    """Retrieve Capabilities (PS3.18 §8.9), as WADL or JSON."""
    media_type = _wanted(request)
    paths = request.app.openapi()["paths"]
    prefix = request.app.state.dicomweb
    ours = {path: item for path, item in paths.items() if path.startswith(prefix)}
    document = _as_json(describe(ours, prefix), base_url)
    body = orjson.dumps(document) if media_type == JSON else _as_wadl(document).encode()
    headers = {**PRIVATE, "Allow": "OPTIONS", "Vary": "Accept", "Content-Type": media_type}
    return Response(body, headers=headers)


def _wanted(request: Request) -> str:
    for form in wanted_forms(request):
        for offered in (WADL, JSON):
            if not form.multipart and form.covers(offered):
                return offered
    raise NotAcceptable("Capabilities are offered as WADL and as JSON", (WADL, JSON))


def describe(paths: Mapping[str, Mapping[str, Any]], prefix: str) -> Tree:
    """Return the resources below `prefix` as a tree: name → its methods and resources."""
    root: Tree = {"methods": [], "resources": {}}
    for path, item in sorted(paths.items()):
        node = root
        for name in path.removeprefix(prefix).strip("/").split("/"):
            if name:
                node = node["resources"].setdefault(name, {"methods": [], "resources": {}})
        node["methods"] += [(name.upper(), item[name]) for name in _METHODS if name in item]
    return root


def _as_json(tree: Tree, base_url: str) -> Tree:
    resources = [_resource(name, node) for name, node in tree["resources"].items()]
    return {"application": {"resources": {"base": base_url, "resource": resources}}}


def _resource(path: str, node: Tree) -> Tree:
    found: Tree = {"path": path}
    if node["methods"]:
        found["method"] = [_method(name, operation) for name, operation in node["methods"]]
    if node["resources"]:
        found["resource"] = [_resource(name, below) for name, below in node["resources"].items()]
    return found


def _method(name: str, operation: Mapping[str, Any]) -> Tree:
    request: Tree = {}
    parameters = [
        {"name": one["name"], "style": one["in"]}
        for one in operation.get("parameters", ())
        if one["in"] in {"query", "header"}
    ]
    if parameters:
        request["param"] = parameters
    if content := operation.get("requestBody", {}).get("content"):
        request["representation"] = [{"mediaType": media_type} for media_type in content]
    responses = [
        {
            "status": status,
            "representation": [{"mediaType": one} for one in response.get("content", ())],
        }
        for status, response in operation["responses"].items()
    ]
    return {"name": name, "id": operation["operationId"], "request": request, "response": responses}


def _as_wadl(document: Tree) -> str:
    lines = "\n".join(_lines("resources", document["application"]["resources"], 1))
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}\n<application xmlns="{_NAMESPACE}">\n{lines}\n</application>\n'


def _lines(name: str, element: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Yield the lines of an XML element: text members are attributes, the others are elements."""
    indent = "  " * depth
    attributes = "".join(
        f" {key}={quoteattr(value)}" for key, value in element.items() if isinstance(value, str)
    )
    below = [
        line
        for key, value in element.items()
        if not isinstance(value, str)
        for one in (value if isinstance(value, list) else [value])
        if one
        for line in _lines(key, one, depth + 1)
    ]
    if not below:
        yield f"{indent}<{name}{attributes}/>"
        return
    yield f"{indent}<{name}{attributes}>"
    yield from below
    yield f"{indent}</{name}>"
