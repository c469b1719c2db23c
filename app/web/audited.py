"""Every answer that shows something of the archive is noted in the audit trail, before it ends.

One place sees all answers, whichever way they are made: it stands between the plumbing and the
routes. What an answer shows, the template of its route says (`SHOWS`); a route that is in no table
here fails a test. A read that differs from one of the same minute in nothing costs a look into a
dict; else the last bytes of the answer wait until its entry is in the log.
"""

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_plus

from starlette.datastructures import State
from starlette.requests import ClientDisconnect

from app.archive.trail import Access, Interval, Trail
from app.dicom.matching import name_path, parse_path
from app.errors import Unavailable
from app.index.reads import (
    AUDIT_USED,
    DENIED,
    DOWNLOADED,
    SEARCHED,
    UNAUTHENTICATED,
    VIEWED,
)
from app.rights import DEFAULT_TENANT, Principal
from app.web.auth import ATTEMPTED, PRINCIPAL
from app.web.direct import ROUTE, template_of
from app.web.faults import ASGIApp, Message, NothingMore, Receive, Scope, Send
from app.web.problems import problem_of

DONE = "fileroom.done"
"""Where a route notes what it did: a login or a logout."""
STUDY = "fileroom.study"
"""Where a route notes the Study that its path does not name, or is not to be searched for."""
EMERGENCY = "emergency"
"""The kind of who sees a Study because they opened it in an emergency."""
_BELOW = ("", "/series/{series}", "/series/{series}/instances/{instance}")
_STUDIES = tuple("/studies/{study}" + below for below in _BELOW)
_FRAMES = _STUDIES[-1] + "/frames/{frames}"
_CATEGORIES = (
    *("color-palettes", "defined-procedure-protocols", "hanging-protocols"),
    *("implant-templates", "inventories", "protocol-approvals"),
)
SHOWS: Mapping[str, str] = {
    **dict.fromkeys(("/studies", "/series", "/instances"), SEARCHED),
    **dict.fromkeys((f"{_STUDIES[0]}/series", f"{_STUDIES[0]}/instances"), SEARCHED),
    f"{_STUDIES[1]}/instances": SEARCHED,
    **dict.fromkeys(_STUDIES, DOWNLOADED),
    **{
        at + what: VIEWED
        for at in _STUDIES
        for what in ("/metadata", "/rendered", "/thumbnail", "/bulkdata", "/pixeldata")
    },
    f"{_STUDIES[-1]}/bulkdata/{{path}}": VIEWED,
    **{_FRAMES + what: VIEWED for what in ("", "/rendered", "/thumbnail")},
}
"""Below the DICOMweb prefix: what an answer to GET is of, for the trail."""
ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("/wado", *("/api/v1/receipts" + at for at in (_STUDIES[0], _STUDIES[2]))), VIEWED
    ),
    **{f"/api/v1{_STUDIES[0]}/{what}": VIEWED for what in ("labels", "hold")},
    "/api/v1/audit": AUDIT_USED,
}
"""What is not below it. The change feed and lists of UIDs alone are in neither."""
_UNSEEN = re.compile(
    r"/|/docs|/static/.*|/openapi\.json|/metrics|/health/.*|/api/v1/(?!audit|studies/|receipts/studies/).*"
)
_UNSEEN_DICOMWEB = re.compile(rf"(/commitment-requests/.*|/({'|'.join(_CATEGORIES)})(/.*)?)?")
_STUDY_IN_PATH = re.compile(r"/studies/([0-9.]{1,64})(?![^/])")
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_HIDDEN = frozenset((HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE))
_DICOM = b"application/dicom"
_MOST_ASKED = 50
_MOST_HOT = 4096
_OK = int(HTTPStatus.OK)
_STUDY_KEYS = frozenset(("StudyInstanceUID", "study"))
_AUDIT_KEYS = frozenset(("study", "principal", "action", "from", "to"))


class _Hot(NamedTuple):
    """What the last frame of a Study that went to an address was noted as."""

    principal: Principal
    route: str
    interval: Interval


def note_done(scope: Scope, principal: Principal, what: str) -> None:
    """Note that somebody has logged in or out."""
    scope[PRINCIPAL], scope[DONE] = principal, what


class Audited:
    """Notes what the answers of an application show; with `required` none is given out unnoted."""

    def __init__(self, app: ASGIApp, prefix: str, state: State, *, required: bool) -> None:
        self.app = app
        self._state = state
        self._required = required
        self._shows = {prefix + at: action for at, action in SHOWS.items()} | dict(ELSEWHERE)
        self._hot: dict[tuple[str, str], _Hot] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._required:
            await self._withholding(scope, receive, send)
            return
        pending: asyncio.Future[bool] | None = None

        async def sending(message: Message) -> None:
            nonlocal pending
            if message["type"] == "http.response.start":
                pending = self._note(scope, message)
            elif pending is not None and not message.get("more_body", False):
                await self._kept(pending)
            await send(message)

        await self.app(scope, receive, sending)

    async def _withholding(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; if its answer cannot be noted, say so instead of it."""
        withheld = False

        async def sending(message: Message) -> None:
            nonlocal withheld
            if message["type"] == "http.response.start":
                withheld = not await self._kept(self._note(scope, message))
                if withheld:
                    error = Unavailable("The audit trail cannot be written, so nothing is shown")
                    await problem_of(error)(scope, receive, send)
            if not withheld:
                await send(message)
            elif message.get("more_body", False):
                raise NothingMore

        try:
            await self.app(scope, receive, sending)
        except (NothingMore, ClientDisconnect):
            if not withheld:
                raise

    def _note(self, scope: Scope, message: Message) -> "asyncio.Future[bool] | None":
        hot = self._hot.get((scope[STUDY], _address(scope))) if STUDY in scope else None
        if (
            hot is not None
            and message["status"] == _OK
            and hot.principal is scope.get(PRINCIPAL)
            and hot.route is scope.get(ROUTE)
            and hot.interval.again()
        ):
            return None
        access = self._access(scope, message)
        if access is None:
            return None
        trail: Trail = self._state.archive.trail
        noted = trail.note(access, _header(scope, b"user-agent"))
        self._remember(trail, scope, access)
        return noted

    def _remember(self, trail: Trail, scope: Scope, access: Access) -> None:
        """Keep at hand what a frame was noted as: thousands a minute follow it."""
        interval, principal = trail.interval(access), scope.get(PRINCIPAL)
        if ROUTE in scope and STUDY in scope and interval is not None and principal is not None:
            if len(self._hot) >= _MOST_HOT:
                self._hot.clear()
            if access.action == VIEWED:
                hot = _Hot(principal, scope[ROUTE], interval)
                self._hot[access.study, access.address] = hot

    async def _kept(self, noted: "asyncio.Future[bool] | None") -> bool:
        """Wait for an entry, if there is one to wait for."""
        if noted is None:
            return True
        trail: Trail = self._state.archive.trail
        return await trail.kept(noted)

    def _access(self, scope: Scope, message: Message) -> Access | None:
        """Return what an answer shows, or denies; None if it is of no interest."""
        status: int = message["status"]
        template = template_of(scope)
        action = scope.get(DONE)
        if action is None and scope["method"] == "GET":
            action = self._shows.get(template)
        if status < HTTPStatus.BAD_REQUEST:
            return None if action is None else self._shown(scope, message, action)
        principal: Principal | None = scope.get(PRINCIPAL)
        address = _address(scope)
        if principal is None and _is_attempt(scope, status):
            tenant, name = scope.get(ATTEMPTED) or (DEFAULT_TENANT, "")
            kind = "user" if name else ""
            return Access(tenant, name, kind, UNAUTHENTICATED, address=address, status=status)
        if status == HTTPStatus.FORBIDDEN or (status in _HIDDEN and action is not None):
            tenant = principal.scope.tenant_id if principal else DEFAULT_TENANT
            who = (principal.signature, principal.kind) if principal else ("", "")
            attempt = action or f"{scope['method'][:20]} {template}"
            study = _study(scope) if principal else ""  # not what a stranger says
            return Access(tenant, *who, DENIED, study, address, attempt=attempt, status=status)
        return None

    def _shown(self, scope: Scope, message: Message, action: str) -> Access | None:
        principal: Principal | None = scope.get(PRINCIPAL)
        if principal is None:
            return None
        asked: tuple[str, ...] = ()
        study = _study(scope)
        if action in {SEARCHED, AUDIT_USED}:
            asked, named = asked_for(scope["query_string"])
            study = study or named
        elif scope["path"].endswith("/wado") and _is_dicom(message):
            action = DOWNLOADED
        kind = EMERGENCY if study in principal.scope.also else principal.kind
        tenant = principal.scope.tenant_id
        return Access(tenant, principal.signature, kind, action, study, _address(scope), asked)


def asked_for(query_string: bytes) -> tuple[tuple[str, ...], str]:
    """Return the attributes that a search is by, and the one Study that it names, '' if none.

    No other value is kept, and no name of what is no attribute: either may be a patient's. Of a
    search of the trail itself these are its parameters.
    """
    asked, study = set(), ""
    for pair in query_string.split(b"&"):
        name, _, value = pair.partition(b"=")
        if known := _parameter(name):
            asked.add(known)
            uid = unquote_plus(value.decode("latin-1")) if known in _STUDY_KEYS else ""
            study = uid if _UID.fullmatch(uid) else study
    return tuple(sorted(asked)[:_MOST_ASKED]), study


@lru_cache(maxsize=1024)
def _parameter(name: bytes) -> str:
    """Return what is kept of a parameter's name, '' for nothing."""
    text = unquote_plus(name.decode("latin-1"))
    path = parse_path(text)
    return name_path(path) if path is not None else text if text in _AUDIT_KEYS else ""


def shows_nothing(template: str, prefix: str) -> bool:
    """Say whether what a route answers is of no patient, so that nobody notes it."""
    if template.startswith(prefix):
        return _UNSEEN_DICOMWEB.fullmatch(template, len(prefix)) is not None
    return _UNSEEN.fullmatch(template) is not None


def _is_attempt(scope: Scope, status: int) -> bool:
    """Say whether somebody was not let in; with 429 only if passwords were wrong before."""
    return status == HTTPStatus.UNAUTHORIZED or (
        status == HTTPStatus.TOO_MANY_REQUESTS and ATTEMPTED in scope
    )


def _study(scope: Scope) -> str:
    """Return the UID of the Study that a request is about, '' if it names none."""
    named: str | None = scope.get(STUDY)
    if named is not None:
        return named
    match = _STUDY_IN_PATH.search(scope["path"])
    return match[1] if match else ""


def _address(scope: Scope) -> str:
    """Return where a request comes from; behind a trusted proxy that is what the proxy says."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_dicom(message: Message) -> bool:
    return any(name == b"content-type" and _DICOM in value for name, value in message["headers"])


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""
