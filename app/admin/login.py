"""Where people log in and out in a browser: at the provider, or with a name and a password.

A login begins a session with a secret of its own, and ends the one that the browser had before.
"""

import hmac
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.admin.pages import HEADERS, page_of
from app.archive.context import Archive
from app.archive.sessions import begin_session, end_session
from app.errors import (
    ArchiveError,
    Forbidden,
    NotFound,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from app.index.reads import LOGGED_IN, LOGGED_OUT
from app.rights import Principal
from app.web.audited import note_done
from app.web.auth import note_attempt
from app.web.deps import ArchiveDep
from app.web.forwarded import base_url_of
from app.web.oidc.login import ATTEMPT_SECONDS, Attempt, Login, new_attempt, read_attempt
from app.web.problems import STATUS
from app.web.sessions import Cookie, check_same_origin, cookie_for, path_of_ours

router = APIRouter(include_in_schema=False)
CALLBACK = "/auth/callback"
MOST_BYTES = 8192
"""Of a form."""
_ATTEMPT = "-login"


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people log in: at a provider, else with a password; and for how long, in seconds."""

    provider: Login | None
    seconds: float


@router.get("/login")
async def get_login(request: Request, next: str = "/") -> Response:
    """Send the browser to the provider, or show the form."""
    sign_in, then = _sign_in(request), path_of_ours(next)
    cookie = _cookie(request, _ATTEMPT)
    if sign_in.provider is None:
        return _form(request, then, "With the name and password of this archive.")
    attempt = new_attempt(then)
    try:
        place = await sign_in.provider.address(attempt, _callback(request))
    except Unavailable as error:
        return _said(request, "Not logged in", error)
    answer = _go(place)
    cookie.write(answer, attempt.write(), ATTEMPT_SECONDS)
    return answer


@router.post("/login")
async def post_login(request: Request, archive: ArchiveDep) -> Response:
    """Log somebody in by name and password."""
    sign_in = _sign_in(request)
    check_same_origin(request.scope, request.app.state)
    form = await _read_form(request)
    then = path_of_ours(form.get("next", "/"))
    if sign_in.provider is not None:
        raise NotFound("Page", "login")
    _cookie(request)  # no password is looked at that came unprotected
    name, password = form.get("name", ""), form.get("password", "")
    address = request.client.host if request.client else ""
    try:
        if "\0" in name:
            raise Unauthenticated("Nobody has that name")
        user = await archive.users.principal(name, password, address)
    except (Unauthenticated, TooMany, Unavailable) as error:
        if not isinstance(error, Unavailable):
            note_attempt(request.scope, error)
        return _form(request, then, str(error), STATUS[type(error)])
    return await _logged_in(request, archive, user, then)


@router.get(CALLBACK)
async def get_callback(request: Request, archive: ArchiveDep) -> Response:
    """Take back a browser that was at the provider."""
    login = _sign_in(request).provider
    if login is None:
        raise NotFound("Page", "login")
    cookie = _cookie(request, _ATTEMPT)
    try:
        attempt, said = _brought_back(request, cookie)
        code, named, back = said["code"], said.get("iss"), _callback(request)
        principal = await login.finish(attempt, code, named, back)
        answer = await _logged_in(request, archive, principal, path_of_ours(attempt.then))
    except ArchiveError as error:
        answer = _said(request, "Not logged in", error)
    cookie.clear(answer)
    return answer


@router.get("/logout")
async def get_logout(request: Request) -> Response:
    """Ask whether to log out."""
    _sign_in(request)
    root = escape(request.scope.get("root_path", ""))
    button = f'<form method="post" action="{root}/logout"><button>Log out</button></form>'
    return _page(request, "Log out", "Your session in this browser ends.", button)


@router.post("/logout")
async def post_logout(request: Request, archive: ArchiveDep) -> Response:
    """End the session."""
    sign_in = _sign_in(request)
    check_same_origin(request.scope, request.app.state)
    cookie = _cookie(request)
    value = cookie.read(request.scope)
    ended = await end_session(archive, value) if value is not None else None
    if ended is not None:
        note_done(request.scope, ended, LOGGED_OUT)
    more = ""
    place = await sign_in.provider.place_to_log_out() if sign_in.provider else ""
    if place:
        more = f'<p>You may still be logged in at <a href="{escape(place)}">the provider</a>.</p>'
    answer = _page(request, "Logged out", "The session in this browser has ended.", more)
    cookie.clear(answer)
    return answer


def _brought_back(request: Request, cookie: Cookie) -> tuple[Attempt, dict[str, str]]:
    """Return the login that a browser has begun here, and what it brings from the provider.

    Raises:
        Unauthenticated: it has begun none, or brings a refusal.
    """
    attempt = read_attempt(cookie.read(request.scope))
    given = {name: request.query_params.getlist(name) for name in request.query_params}
    if any(len(values) > 1 for values in given.values()):
        raise Unauthenticated("The identity provider's answer is malformed")
    said = {name: values[0] for name, values in given.items()}
    if attempt is None or not _equal(said.get("state", ""), attempt.state):
        raise Unauthenticated("This login took too long, or was begun elsewhere; begin again")
    if "error" in said or "code" not in said:
        raise Unauthenticated("The identity provider did not log you in")
    return attempt, said


async def _logged_in(
    request: Request, archive: Archive, principal: Principal, then: str
) -> Response:
    """Begin a session, in place of the one that the browser had, and go on."""
    cookie = _cookie(request)
    former = cookie.read(request.scope)
    value = await begin_session(archive, principal, _sign_in(request).seconds)
    if former is not None:
        await end_session(archive, former)
    note_done(request.scope, principal, LOGGED_IN)
    answer = _go(then)
    cookie.write(answer, value)
    return answer


def _sign_in(request: Request) -> SignIn:
    sign_in: SignIn | None = request.app.state.sign_in
    if sign_in is None:
        raise NotFound("Page", "login")
    return sign_in


def _cookie(request: Request, suffix: str = "") -> Cookie:
    return cookie_for(request.scope, request.app.state, suffix)


def _callback(request: Request) -> str:
    state = request.app.state
    return base_url_of(request.scope, state).removesuffix(state.dicomweb) + CALLBACK


def _go(place: str) -> RedirectResponse:
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(place, 303, headers=headers)


async def _read_form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLarge(f"A form of up to {MOST_BYTES} bytes was expected")
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}


def _form(request: Request, then: str, text: str, status: int = 200) -> Response:
    root = escape(request.scope.get("root_path", ""))
    form = f"""<form method="post" action="{root}/login">
  <p><label for="name">Name</label>
    <input id="name" name="name" autocomplete="username" required autofocus></p>
  <p><label for="password">Password</label>
    <input id="password" name="password" type="password" required
      autocomplete="current-password"></p>
  <input type="hidden" name="next" value="{escape(then)}">
  <button>Log in</button>
</form>"""
    return _page(request, "Log in", text, form, status)


def _said(request: Request, title: str, error: ArchiveError) -> Response:
    """Say on a page why somebody is not logged in."""
    again = "" if isinstance(error, Forbidden) else "<p>$link</p>"
    root = escape(request.scope.get("root_path", ""))
    more = again.replace("$link", f'<a href="{root}/login">Log in</a>')
    return _page(request, title, str(error), more, STATUS[type(error)])


def _page(
    request: Request, title: str, text: str, more: str = "", status: int = 200
) -> HTMLResponse:
    policy = HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'")
    headers = {**HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-store"}
    root = escape(request.scope.get("root_path", ""))
    body = page_of("login", root=root, title=escape(title), text=escape(text), more=more)
    return HTMLResponse(body, status, headers=headers)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())
