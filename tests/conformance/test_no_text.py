"""What is no text, at every place of the contract that takes text (CONFORMANCE Z-07)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.live_server import LiveServer

CONTRACT = yaml.safe_load(Path("openapi.yaml").read_text(encoding="utf-8"))["paths"]
NO_TEXT = ("%00", "a%00b", "%ff%fe", "%ed%a0%80")
LIKELY = {"integer": 1, "number": 1, "boolean": True}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in CONTRACT.items():
        for method, operation in methods.items():
            yield method, path, operation


def addresses() -> Iterator[tuple[str, str]]:
    """Yield a method and an address for each text that a path or query takes."""
    for method, path, operation in operations():
        parameters = operation.get("parameters", [])
        likely = {one["name"]: "1.2" for one in parameters if one["in"] == "path"}
        for one in parameters:
            for value in NO_TEXT:
                if one["in"] == "query":
                    yield method, f"{path.format_map(likely)}?{one['name']}={value}"
                elif one["in"] == "path":
                    yield method, path.format_map({**likely, one["name"]: value})


def made_of(schema: dict[str, Any], text: str) -> Any:
    """Return what fits a schema, with `text` wherever there may be any."""
    for some in (schema.get("anyOf"), schema.get("allOf")):
        if some:
            return made_of(some[0], text)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: made_of(of, text) for name, of in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [made_of(schema.get("items", {}), text)]
    return LIKELY.get(str(schema.get("type")), text)


def bodies() -> Iterator[tuple[str, str, Any]]:
    for method, path, operation in operations():
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            likely = {one["name"]: "1.2" for one in operation.get("parameters", [])}
            schema = content["application/json"]["schema"]
            yield method, path.format_map(likely), made_of(schema, "1.2 for\0no reason")


def test_no_place_for_text_fails_at_what_is_none(
    live_server: LiveServer, http: httpx.Client
) -> None:
    asked = list(addresses())
    assert len(asked) > 200
    for method, address in asked:
        if "wait=" in address:
            continue
        status = http.request(method, address, content=b"").status_code
        assert status < 500, (method, address, status)
    given = list(bodies())
    assert len(given) > 4
    for method, address, body in given:
        status = http.request(method, address, json=body).status_code
        assert status < 500, (method, address, status)
    assert '"request failed"' not in live_server.log.read_text()
