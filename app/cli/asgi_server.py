"""What a worker of `fileroom serve` does: the ASGI application in uvicorn, on an inherited socket.

It imports the application at once, while the parent still starts PostgreSQL, and then waits for
its `Order` on standard input. It says that it serves by one byte on standard output. It ends with
its parent: the kernel kills it.
"""

import asyncio
import gc
import importlib
import logging
import os
import pickle
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from uvicorn._types import ASGIApplication
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.admin.metrics import OPEN
from app.archive.threads import WorkThreads
from app.cli.door import Door
from app.cli.guard import GuardedProtocol, Patience, guarded_by
from app.cli.order import Order
from app.cli.tls import server_context
from app.logs import configure_logs
from app.settings import METRICS_VARIABLE, Http, Settings
from app.web.forwarded import Forwarded

_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, which tells the parent when it serves and looks after slow connections.

    Before it waits for requests to end it calls the application's `end_waits`, since some wait for
    what may never come; and once a second its `each_second`, for what only has to be looked at.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        tell_ready: Callable[[], None],
        application: object = None,
    ) -> None:
        super().__init__(config)
        http, limits = settings.http, settings.limits
        self._patience = Patience(http.header_seconds, limits.body_seconds, limits.body_rate)
        self._tell_ready = tell_ready
        self._end_waits = getattr(application, "end_waits", _nothing)
        self._each_second = getattr(application, "each_second", _nothing)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        asyncio.get_running_loop().set_default_executor(WorkThreads())
        await super().startup(sockets)
        if self.started:
            self._tell_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, as soon as requests under way have ended."""
        self._end_waits()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second; once a second look after connections."""
        if counter % 10 == 0:
            OPEN.set(len(self.server_state.tasks))
            self._each_second()
            patience = self._patience
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.look(patience)
        return await super().on_tick(counter)


def serve_orders(application: str) -> None:
    """Serve `module:function` as the parent orders; ends when it asks for that or dies."""
    module, _, name = application.partition(":")
    create_app = getattr(importlib.import_module(module), name)
    gc.freeze()  # what was imported stays: no collection has to walk through it
    gc.enable()
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent alone
    settings: Settings = order.settings
    configure_logs(settings.log.level, settings.log.format, access=settings.log.access)
    if METRICS_VARIABLE not in os.environ:
        _log.warning("no memory to share counts in: /metrics shows one worker's")
    _raise_open_files()
    app = create_app(settings)
    server = Server(configuration(settings, app), settings, _tell_parent, app)
    server.run(sockets=[socket.socket(fileno=order.listening)])


def configuration(settings: Settings, application: ASGIApplication) -> uvicorn.Config:
    """Return how uvicorn serves: guarded, quiet, and bounded as the settings say."""
    http = settings.http
    return uvicorn.Config(
        _behind_proxies(settings, application) if http.trusted_proxies else application,
        http=guarded_by(_door(http)),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        root_path=http.root_path,
        proxy_headers=False,
        timeout_keep_alive=int(http.keep_alive_seconds),
        timeout_graceful_shutdown=int(http.drain_seconds),
        backlog=2048,
        ssl_context_factory=_tls(http),
    )


def _door(http: Http) -> Door:
    """Return who counts connections; those of proxies are of many clients."""
    trusted = ProxyHeadersMiddleware(cast("Any", None), list(http.trusted_proxies)).trusted_hosts
    most_each = min(http.connections_per_address, http.connections)
    return Door(http.connections, most_each, lambda host: host in trusted)


def _tls(http: Http) -> Callable[..., ssl.SSLContext] | None:
    context = server_context(http)
    if context is None:
        return None
    made: ssl.SSLContext = context
    return lambda *_: made


def _behind_proxies(settings: Settings, application: ASGIApplication) -> ASGIApplication:
    """Return the application that believes trusted proxies: who asks, and at which address."""
    taken_over = ProxyHeadersMiddleware(
        cast("Any", application), list(settings.http.trusted_proxies)
    )
    trusted = taken_over.trusted_hosts
    forwarded = Forwarded(
        cast("Any", taken_over),
        lambda host: host in trusted,
        counts=settings.http.public_url is None,
    )
    return cast("ASGIApplication", forwarded)


def _nothing() -> None:
    """Stand for what an application does not do."""


def _tell_parent() -> None:
    os.write(1, b"1")
    os.dup2(2, 1)  # what is printed by mistake goes where the log goes


def _raise_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
