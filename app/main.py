"""Composes the HTTP application: archive, routes, problem documents, contract."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import __version__
from app.admin import (
    changes,
    findings,
    health,
    holds,
    labels,
    originals,
    pages,
    receipts,
    removed,
    retention,
)
from app.admin.metrics import Measured
from app.archive.context import open_archive
from app.archive.working import beside_requests
from app.dicomweb import (
    bulk_data,
    capabilities,
    commitment,
    non_patient,
    qido,
    removal,
    rendered,
    stow,
    wado_rs,
    wado_uri,
)
from app.dicomweb.frames import FRAMES_CONTRACT, FramesRoute
from app.settings import Settings
from app.web.auth import Identity
from app.web.contract import describe_malformed
from app.web.cors import CrossOrigin, cross_origin_rules
from app.web.direct import Direct
from app.web.faults import ASGIApp, Faults, Receive, Scope, Send
from app.web.head import Head
from app.web.problems import add_problem_handlers

DICOMWEB = "/dicom-web"
_DESCRIPTION = """\
An archive for medical images: DICOMweb (PS3.18) under `/dicom-web`, WADO-URI at `/wado`.
Errors are problem documents (RFC 9457).
"""


class _Application(FastAPI):
    """FastAPI inside our own plumbing, so that frames are served before it is entered at all."""

    plumbing: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        enter = self.plumbing if scope["type"] == "http" else super().__call__
        await enter(scope, receive, send)

    def end_waits(self) -> None:
        """Let go of all who wait for changes; the server stops, and may call this at any time."""
        if (archive := getattr(self.state, "archive", None)) is not None:
            archive.watch.end()

    async def route_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by FastAPI's routes."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its archive is open while it runs (ASGI lifespan)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_archive(settings.place()) as archive:
            app.state.archive = archive
            async with beside_requests(archive, settings.duties()):
                yield

    app = _Application(
        title="Fileroom",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.base_url = settings.base_url + DICOMWEB
    app.state.dicomweb = DICOMWEB
    app.state.identity = _identity(settings)
    app.state.data_directory = str(settings.data_dir.absolute())
    dicomweb = (qido, stow, wado_rs, bulk_data, rendered, removal, non_patient, commitment)
    for routes in (*dicomweb, capabilities):
        app.include_router(routes.router, prefix=DICOMWEB)
    api = (changes, findings, receipts, originals, labels, holds, removed, retention)
    for routes in (wado_uri, *api, health, pages):
        app.include_router(routes.router)
    add_problem_handlers(app)
    busiest = (*stow.DIRECT, *qido.DIRECT, *rendered.DIRECT)
    direct = Direct(app.route_request, DICOMWEB, app.state, busiest)
    frames = FramesRoute(direct, DICOMWEB, app.state)
    origins = cross_origin_rules(settings.http.cors_origins)
    app.plumbing = Head(Measured(CrossOrigin(Faults(frames), **origins)))
    app.openapi = lambda: _contract(app)  # type: ignore[method-assign]
    return app


def _identity(settings: Settings) -> Identity:
    key = settings.auth.key()
    digest = hashlib.sha256(key.get_secret_value().encode()).digest() if key else None
    return Identity(digest, frozenset(settings.http.cors_origins))


def _contract(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the route that FastAPI does not serve itself."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        document["paths"].update({DICOMWEB + path: item for path, item in FRAMES_CONTRACT.items()})
        document["paths"] = dict(sorted(document["paths"].items()))
        describe_malformed(document["paths"])
        app.openapi_schema = document
    return app.openapi_schema
