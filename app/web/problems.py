"""The table from an error to an HTTP status, and problem documents (RFC 9457).

A 5xx says nothing but a request id; the log has the rest. Only words from `app.errors` reach a
caller: anything else that is raised is a fault of ours and becomes 500.
"""

import re
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import errors
from app.errors import ArchiveError
from app.web.auth import BEARER

STATUS: dict[type[ArchiveError], HTTPStatus] = {
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Gone: HTTPStatus.GONE,
    errors.Superseded: HTTPStatus.GONE,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Duplicate: HTTPStatus.CONFLICT,
    errors.Final: HTTPStatus.CONFLICT,
    errors.Changed: HTTPStatus.PRECONDITION_FAILED,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.InvalidUID: HTTPStatus.BAD_REQUEST,
    errors.InvalidQuery: HTTPStatus.BAD_REQUEST,
    errors.InvalidMultipart: HTTPStatus.BAD_REQUEST,
    errors.MissingAttribute: HTTPStatus.BAD_REQUEST,
    errors.InvalidAttribute: HTTPStatus.BAD_REQUEST,
    errors.NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.InvalidDataset: HTTPStatus.CONFLICT,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Damaged: HTTPStatus.INTERNAL_SERVER_ERROR,
}
REASONS: dict[type[ArchiveError], str] = {
    errors.Duplicate: "duplicate",
    errors.Final: "final",
    errors.MissingAttribute: "missing-attribute",
    errors.InvalidAttribute: "invalid-attribute",
}
"""The member `reason` of a problem whose status alone does not tell a bridge what to answer."""
_RETRY_SECONDS = 5

log = structlog.get_logger()


def problem(
    status: HTTPStatus, detail: str, headers: dict[str, str] | None = None, **members: Any
) -> Response:
    """Return a problem document; `detail` is for the caller."""
    body = {"title": status.phrase, "status": int(status), "detail": detail, **members}
    return Response(
        orjson.dumps(body),
        status,
        headers={"X-Content-Type-Options": "nosniff", **(headers or {})},
        media_type="application/problem+json",
    )


def problem_of(error: ArchiveError) -> Response:
    """Return the problem document of one of our errors."""
    status = STATUS[type(error)]
    more: dict[str, Any] = {}
    if isinstance(error, errors.NotAcceptable):
        more["offered"] = error.offered
    if type(error) in REASONS:
        more["reason"] = REASONS[type(error)]
    return problem(status, str(error), _headers(error, status), **more)


def _headers(error: ArchiveError, status: HTTPStatus) -> dict[str, str]:
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": ", ".join(error.challenges) or BEARER}
    if isinstance(error, errors.TooMany):
        return {"Retry-After": str(error.seconds)}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(_RETRY_SECONDS)}
    return {}


def fault(request_id: str) -> Response:
    """Return the problem document of a fault of ours: a request id and nothing else."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server failed. Its log has the reason under this request id.",
        request_id=request_id,
    )


async def _archive_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ArchiveError)  # noqa: S101 - registered for it alone
    return problem_of(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(_allowed(request)))
        headers = {"Allow": allowed}
        if request.method == "OPTIONS":  # C-05
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        return problem(status, f"This path takes {allowed}, not {request.method[:20]}", headers)
    detail = _no_such_path(request) if _is_wordless(error, status) else str(error.detail)
    return problem(status, detail, headers)


def _is_wordless(error: HTTPException, status: HTTPStatus) -> bool:
    return status is HTTPStatus.NOT_FOUND and error.detail == status.phrase


def _no_such_path(request: Request) -> str:
    if request.scope["path"].endswith("/"):
        return "There is no such path; none here ends with a slash"
    return "There is no such path; the contract lists what this version offers"


def _allowed(request: Request) -> set[str]:
    """Return the methods of all routes of a path; the router's own answer knows only the first."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    methods: set[str] = set()
    for template, item in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            methods.update(method.upper() for method in item)
    if not methods:  # a page for people, which the contract leaves out
        methods.add("GET")
    methods.add("OPTIONS")
    return methods | ({"HEAD"} if "GET" in methods else set())  # `web.head` answers it


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    where = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
    return problem(HTTPStatus.BAD_REQUEST, where)


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error that leaves a route a problem document."""
    app.add_exception_handler(ArchiveError, _archive_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
