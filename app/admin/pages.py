"""Pages for people: the first one, and the contract to read and try. Nothing comes from elsewhere:
hospital networks have no internet. Pages carry no script of their own and no patient's name."""

from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from string import Template

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from app import __version__
from app.archive.context import Archive
from app.errors import ArchiveError, Forbidden, NotFound, Unauthenticated, Unavailable
from app.index.overview import Overview, count_everything
from app.rights import Principal, Verb
from app.web.deps import ArchiveDep, BaseUrlDep
from app.web.sessions import login_address

router = APIRouter(include_in_schema=False)

HERE = Path(__file__).parent
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _served_files() -> Mapping[str, Path]:
    """Return what `/static` serves: our own files, and Swagger UI as `fastapi-offline` ships it."""
    files = {path.name: path for path in (HERE / "static").iterdir()}
    offline = find_spec("fastapi_offline")
    for package in (offline.submodule_search_locations or ()) if offline else ():
        for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
            files[name] = Path(package) / "static" / name
    return files


FILES = _served_files()


@router.get("/")
async def get_home(request: Request, archive: ArchiveDep, dicomweb: BaseUrlDep) -> Response:
    """Show where everything is and how much there is; who could log in does so first."""
    visitor = await _visitor(request)
    if visitor is None:
        address = login_address(request.scope)
        return RedirectResponse(address, 303, headers={"Cache-Control": "no-store"})
    base = dicomweb.removesuffix("/dicom-web")
    asks_for_key = bool(request.app.state.identity.sources)
    holdings, ours = await _holdings(request, archive)
    directory = f"--data-dir {quote(request.app.state.data_directory)} " if ours else ""
    page = _template("home").substitute(
        root=escape(request.scope.get("root_path", "")),
        who=visitor,
        base=escape(base),
        version=escape(__version__),
        holdings=holdings,
        directory=escape(directory),
        auth='-H "Authorization: Bearer $KEY" ' if asks_for_key else "",
        header=', headers={"Authorization": "Bearer …"}' if asks_for_key else "",
    )
    return HTMLResponse(page, headers={**HEADERS, "Cache-Control": "no-store"})


@router.get("/docs")
async def get_docs(request: Request) -> HTMLResponse:
    """Show the contract, to read and try."""
    page = _template("docs").substitute(root=escape(request.scope.get("root_path", "")))
    return HTMLResponse(page, headers={**HEADERS, "Content-Security-Policy": DOCS_POLICY})


@router.get("/static/{name}")
async def get_static(name: str) -> FileResponse:
    """Send a file that the pages need."""
    if name not in FILES:
        raise NotFound("File", "of that name")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=3600"}
    return FileResponse(FILES[name], headers=headers)


async def _visitor(request: Request) -> str | None:
    """Return what the page says of who is logged in, None for who has to log in to see it."""
    if request.app.state.sign_in is None:
        return ""
    try:
        principal: Principal = await request.app.state.identity.principal(request.scope)
    except Unauthenticated:
        return None
    except ArchiveError:
        return ""
    root = escape(request.scope.get("root_path", ""))
    return f'<p class="who">{escape(principal.name)}<br><a href="{root}/logout">Log out</a></p>'


def page_of(name: str, **values: str) -> str:
    """Return a page by the name of its template; values are HTML."""
    return _template(name).substitute(**values)


def _template(name: str) -> Template:
    return Template((HERE / "templates" / f"{name}.html").read_text(encoding="utf-8"))


async def _holdings(request: Request, archive: Archive) -> tuple[str, bool]:
    """Return how much the caller may see, or why nothing is shown; and whether all is theirs."""
    try:
        principal: Principal = await request.app.state.identity.principal(request.scope)
        if Verb.SEARCH not in principal.verbs:
            raise Forbidden("Searching is not allowed to you")
        overview = await count_everything(archive.index, principal.scope)
    except Unavailable:
        return "<p>The index does not answer at the moment.</p>", False
    except ArchiveError:
        return "<p>Shown to callers with a key. This page works without one.</p>", False
    return _numbers(overview), principal.administers_all


def _numbers(overview: Overview) -> str:
    shown = (
        ("studies", f"{overview.studies:,}"),
        ("series", f"{overview.series:,}"),
        ("instances", f"{overview.instances:,}"),
        ("stored", _size(overview.bytes)),
    )
    rows = (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown)
    return f"<dl>{''.join(rows)}</dl>"


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} PB"
