"""The contract's table of how routes answer otherwise than with what was asked for.

A route names the row that it is of; `tests/dicomweb/test_contract.py` asks each for such answers.
"""

from typing import Any, TypeAlias

Responses: TypeAlias = dict[int | str, dict[str, Any]]

_OTHERWISE = {
    206: "The bytes that Range names",
    304: "The caller has it already",
    416: "There are no such bytes as Range names",
}
_PROBLEMS = {
    400: "The request is malformed",
    401: "A key is asked for",
    403: "Not allowed to this caller",
    404: "No such resource",
    406: "Nothing that is accepted is offered",
    409: "What is stored cannot be decoded, or its state does not allow it",
    410: "It was deleted or rejected",
    412: "It is not what If-Match or another condition names",
    413: "The request or its answer is over a limit",
    415: "The body is of a media type that is not taken",
    416: "There are no such bytes as Range names",
    429: "Too many wrong passwords came, or requests; ask again later",
    500: "Its bytes are damaged, and no copy has them",
    503: "Busy or not ready; ask again",
    507: "There is no room left; nothing was stored",
}


def _row(*statuses: int) -> Responses:
    row: Responses = {}
    more = {429, 503} if 401 in statuses else set()  # of who is asked who asks
    for status in sorted({*statuses, *more}):
        if status in _PROBLEMS:
            content: dict[str, Any] = {"content": {"application/problem+json": {}}}
            row[status] = {"description": _PROBLEMS[status], **content}
        else:
            row[status] = {"description": _OTHERWISE[status]}
    return row


KNOWN = _row(401, 403)
"""Where nothing is asked but who asks."""
FEED = _row(400, 401, 403, 503)
PLACE = _row(400, 401, 403, 410, 503)
"""Of what goes on from a place in the log."""
RECEIPT = _row(400, 401, 403, 404, 410, 500, 503)
"""Of what proves a resource, or tells of a day."""
LABEL = _row(400, 401, 403, 404, 409, 410, 500, 503)
"""Of what puts a label on a Study, or takes it off."""
RULE = _row(400, 401, 403, 404, 503)
"""Of what finds, changes and removes a rule or a hold."""
SAID = _row(400, 401, 403, 404, 409, 413, 503)
"""Of what takes a rule or a hold in JSON."""
READ = _row(304, 400, 401, 403, 404, 406, 409, 410, 412, 413, 500, 503)
"""Of what reads a resource."""
READ_RANGES = {**_row(206, 416), **READ}
"""Of what reads one body, of which a Range may be asked for."""
CHANGE = _row(400, 401, 403, 404, 409, 410, 412, 500, 503)
"""Of what deletes, rejects and restores."""
SEARCH = _row(400, 401, 403, 406, 413, 503)
STORE = _row(400, 401, 403, 406, 413, 415, 503, 507)
"""Of what stores; its 409 is a report."""
COMMITMENT = _row(400, 401, 403, 406, 409, 413, 415, 503)
"""Of what asks for storage commitment."""
RESULT = _row(400, 401, 403, 404, 406, 503)
"""Of what asks what came of that."""
SCHEDULE = _row(400, 401, 403, 413, 415, 503)
"""Of what schedules a procedure step."""
PERFORM = _row(400, 401, 403, 404, 409, 413, 415, 503)
"""Of what tells how far a procedure step is."""
OFFER = _row(406)


def describe_malformed(paths: dict[str, Any]) -> None:
    """Make the contract say 400 wherever there are parameters: FastAPI says 422."""
    for item in paths.values():
        for operation in item.values():
            responses = operation["responses"]
            if responses.pop("422", None) or operation.get("parameters"):
                responses.setdefault("400", READ[400])
