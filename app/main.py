"""Composes the HTTP application: archive, routes, problem documents, contract."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.datastructures import State
from starlette.routing import BaseRoute

from app import __version__
from app.admin import (
    audit,
    changes,
    commitments,
    findings,
    forwarding_rules,
    forwardings,
    health,
    holds,
    keys,
    labels,
    login,
    originals,
    overrides,
    pages,
    receipts,
    removed,
    retention,
    tickets,
)
from app.admin.metrics import LOST_READS, Measured
from app.admin.pressure import Pressure
from app.archive.context import open_archive
from app.archive.working import beside_requests
from app.dicomweb import (
    bulk_data,
    capabilities,
    commitment,
    non_patient,
    patients,
    performed_steps,
    qido,
    removal,
    rendered,
    stow,
    wado_rs,
    wado_uri,
    worklist,
)
from app.dicomweb.frames import FRAMES_CONTRACT, FramesRoute
from app.setting_groups import Oidc
from app.settings import Settings
from app.web.admission import Admission, Callers, Counted, Rate, Rates
from app.web.audited import Audited
from app.web.auth import BASIC, BEARER, Identity, OneKey, Source
from app.web.contract import describe_malformed
from app.web.cors import CrossOrigin, cross_origin_rules
from app.web.direct import Direct
from app.web.faults import ASGIApp, Faults, Receive, Scope, Send
from app.web.head import Head
from app.web.oidc.claims import Reading
from app.web.oidc.login import Client, Login
from app.web.oidc.provider import Provider
from app.web.oidc.source import Tokens
from app.web.oidc.tokens import Rules
from app.web.overrides import Overriding
from app.web.problems import add_problem_handlers
from app.web.said import words_of
from app.web.sessions import Sessions
from app.web.shielded import Shielded
from app.web.sources import BasicSource, KeySource
from app.web.tickets import TicketQuery, Tickets

DICOMWEB = "/dicom-web"
AtProvider: TypeAlias = tuple[Provider, Rules, Reading]
_DESCRIPTION = """\
An archive for medical images: DICOMweb (PS3.18) under `/dicom-web`, WADO-URI at `/wado`.
Errors are problem documents (RFC 9457).
"""


class _Application(FastAPI):
    """FastAPI inside our own plumbing, so that frames are served before it is entered at all."""

    plumbing: ASGIApp
    pressure: Pressure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        enter = self.plumbing if scope["type"] == "http" else super().__call__
        await enter(scope, receive, send)

    def end_waits(self) -> None:
        """Let go of all who wait for changes; the server stops, and may call this at any time."""
        if (archive := getattr(self.state, "archive", None)) is not None:
            archive.watch.end()

    def each_second(self) -> None:
        """Tell the metrics how busy the archive is."""
        if (archive := getattr(self.state, "archive", None)) is not None:
            self.pressure.tell(archive, self.state.callers.rates)

    async def route_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by FastAPI's routes."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its archive is open while it runs (ASGI lifespan)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_archive(settings.place()) as archive:
            app.state.archive = archive
            archive.trail.on_lost = LOST_READS.inc
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
        generate_unique_id_function=_name_of,
    )
    app.pressure = Pressure()
    _fill_state(app.state, settings)
    app.router.routes.extend(_routes())
    add_problem_handlers(app)
    app.plumbing = _plumbing(app, settings)
    app.openapi = lambda: _contract(app)  # type: ignore[method-assign]
    return app


def _fill_state(state: State, settings: Settings) -> None:
    """Set what routes find in the application's state, but for the archive."""
    auth, provider = settings.auth, _provider(settings.auth.oidc)
    state.base_url = settings.base_url + DICOMWEB
    state.dicomweb = DICOMWEB
    state.data_directory = str(settings.data_dir.absolute())
    state.callers = Callers(_rates(settings))
    identity = Counted(_identity(settings, state, provider), state.callers)
    state.identity = Overriding(identity, state, DICOMWEB)
    state.override_seconds = auth.override_seconds
    state.sign_in = _sign_in(settings, provider)


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Return all routes. What FastAPI makes of each when it is first asked for is made once."""
    whole = APIRouter(generate_unique_id_function=_name_of)
    for prefix, router in _routers():
        whole.include_router(router, prefix=prefix)
    return tuple(whole.routes)


def _name_of(route: APIRoute) -> str:
    return route.name


def _routers() -> Iterator[tuple[str, APIRouter]]:
    """Yield every router, and the prefix that it is below."""
    dicomweb = (qido, stow, wado_rs, bulk_data, rendered, removal, non_patient, commitment)
    for routes in (*dicomweb, worklist, performed_steps, capabilities):
        yield DICOMWEB, routes.router
    api = (changes, audit, findings, receipts, originals, labels, holds, removed, retention)
    sending = (forwarding_rules, forwardings, commitments)
    who = (keys, tickets, overrides, login)
    for routes in (wado_uri, patients, *api, *sending, *who, health, pages):
        yield "", routes.router


def _plumbing(app: _Application, settings: Settings) -> ASGIApp:
    """Return what a request goes through, from the outermost to FastAPI's routes."""
    busiest = (*stow.DIRECT, *qido.DIRECT, *rendered.DIRECT)
    elsewhere = Direct(app.route_request, "", app.state, originals.DIRECT)
    direct = Direct(elsewhere, DICOMWEB, app.state, busiest)
    frames = FramesRoute(direct, DICOMWEB, app.state)
    origins = cross_origin_rules(settings.http.cors_origins)
    audited = Audited(frames, DICOMWEB, app.state, required=settings.audit.required)
    admitted = Admission(audited, app.state.callers)
    inner = TicketQuery(Head(Measured(CrossOrigin(Faults(admitted), **origins))))
    return Shielded(inner, settings.http.cors_origins, _words())


def _words() -> frozenset[str]:
    """Return the words in the paths of all routes, which a log may say."""
    templates = (
        prefix + str(getattr(route, "path", ""))
        for prefix, router in _routers()
        for route in router.routes
    )
    return words_of((*templates, *FRAMES_CONTRACT))


def _identity(settings: Settings, state: State, provider: AtProvider | None) -> Identity:
    """Return how callers are known: sources in the order in which they are asked."""
    auth = settings.auth
    sources: list[Source] = []
    if (key := auth.key()) is not None:
        sources.append(OneKey(hashlib.sha256(key.get_secret_value().encode()).digest()))
    if auth.keys:
        sources.append(KeySource(state))
    if auth.basic:
        sources.append(BasicSource(state))
    if provider is not None and auth.oidc.audience:
        sources.append(Tokens(*provider))
    by_bearer = auth.key_file or auth.keys or auth.oidc.audience or not auth.basic  # or a ticket
    challenges = ([BEARER] if by_bearer else []) + ([BASIC] if auth.basic else [])
    if auth.has_identity_source:
        sources += [Sessions(state, auth.session_idle_seconds), Tickets(state, DICOMWEB)]
    return Identity(sources, frozenset(settings.http.cors_origins), tuple(challenges))


def _rates(settings: Settings) -> Rates | None:
    """Return how often callers may ask; of this machine alone nobody has to be kept from it."""
    if not settings.auth.has_identity_source:
        return None
    limits, burst = settings.limits, settings.limits.burst_seconds
    return Rates(
        principals=Rate("caller", limits.principal_rate, burst),
        addresses=Rate("address", limits.address_rate, burst),
    )


def _provider(oidc: Oidc) -> AtProvider | None:
    """Return the provider that is set, what its access tokens have to be, and what they mean."""
    if oidc.issuer is None:
        return None
    reading = Reading(
        oidc.name_claim,
        oidc.roles_claim,
        oidc.role_map,
        oidc.labels_claim,
        oidc.patient_issuer,
        oidc.tenant_claim,
        dict(oidc.tenants),
    )
    rules = Rules(oidc.issuer, frozenset(oidc.audience), oidc.algorithms, oidc.clock_skew)
    return Provider(oidc.issuer), rules, reading


def _sign_in(settings: Settings, provider: AtProvider | None) -> login.SignIn | None:
    """Return how people log in in a browser, None where they cannot."""
    auth, oidc = settings.auth, settings.auth.oidc
    if provider is None or oidc.client_id is None:
        return login.SignIn(None, auth.session_seconds) if auth.login else None
    secret = oidc.client_secret.get_secret_value() if oidc.client_secret else None
    client = Client(oidc.client_id, secret, oidc.scopes)
    return login.SignIn(Login(*provider, client), auth.session_seconds)


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
