"""Small JSON bodies: bounded before they are parsed, and checked by a model."""

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.errors import InvalidRequest, TooLarge

MOST_BYTES = 2**16
_Model = TypeVar("_Model", bound=BaseModel)


async def read_json(request: Request, model: type[_Model]) -> _Model:
    """Return the body of a request, as the model has it.

    Raises:
        InvalidRequest: it is no JSON, or not what the model takes.
        TooLarge: it is longer than `MOST_BYTES`.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLarge(f"A body of up to {MOST_BYTES} bytes was expected")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        words = "; ".join(".".join(map(str, one["loc"])) + f": {one['msg']}" for one in faults)
        raise InvalidRequest(words.removeprefix(": ")) from None


def json_contract(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the contract says of a body that `read_json` reads."""
    schema = model.model_json_schema()
    schema = _in_place(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _in_place(schema: Any, named: Mapping[str, Any]) -> Any:
    """Put what a schema refers to where it does: its names lead nowhere within a contract."""
    if isinstance(schema, list):
        return [_in_place(one, named) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _in_place(named[schema["$ref"].removeprefix("#/$defs/")], named)
    return {key: _in_place(value, named) for key, value in schema.items()}
