"""What is counted about requests, over all workers; never who asked or about whom.

Workers share their counts through files in `PROMETHEUS_MULTIPROC_DIR`, which the parent sets; it
has to be set before `prometheus_client` is imported first. Without it a process counts for itself.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.admin.figures import Figure
from app.archive.findings import Safety
from app.index.overview import Overview
from app.logs import ACCESS
from app.web.direct import ROUTE, template_of
from app.web.said import said_path

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter(
    "fileroom_http_requests",
    "Requests answered, by route and status",
    ("method", "route", "status"),
)
DURATION = Histogram(
    "fileroom_http_request_seconds",
    "From a request's head to its answer's last byte",
    ("method", "route"),
    buckets=SECONDS,
)
RECEIVED = Counter("fileroom_http_received_bytes", "Bytes of request bodies", ("method", "route"))
SENT = Counter("fileroom_http_sent_bytes", "Bytes of answer bodies", ("method", "route"))
ENDED = Counter("fileroom_connections_ended", "Connections that were ended for a reason", ("why",))
LOST_READS = Counter("fileroom_audit_lost", "Reads that are not in the audit trail")
BROKEN_GLASS = Counter("fileroom_overrides", "Studies that were opened in an emergency")
OPEN = Gauge("fileroom_http_requests_open", "Requests under way", multiprocess_mode="livesum")
"""Set once a second by the worker, which knows; counting it at each request would cost more."""


_access = logging.getLogger(ACCESS)


class _Route:
    """The counters of one method and route, looked up once."""

    __slots__ = ("_by_status", "_duration", "_key", "_received", "_sent")

    def __init__(self, method: str, route: str) -> None:
        self._key = (method, route)
        self._by_status: dict[int, Counter] = {}
        self._duration = DURATION.labels(method, route)
        self._received = RECEIVED.labels(method, route)
        self._sent = SENT.labels(method, route)

    def add(self, status: int, seconds: float, received: int, sent: int) -> None:
        """Count one request."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = REQUESTS.labels(*self._key, str(status))
        counter.inc()
        self._duration.observe(seconds)
        if received:
            self._received.inc(received)
        if sent:
            self._sent.inc(sent)


class Measured:
    """Counts every request and how long it took. One closure and a few additions per request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._routes: dict[tuple[str, Any], _Route] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, sent, received = 500, 0, 0

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        begun = time.perf_counter()
        try:
            await self.app(scope, receiving, sending)
        finally:
            seconds = time.perf_counter() - begun
            self._route(scope).add(status, seconds, received, sent)
            if _access.isEnabledFor(logging.INFO):
                _log_request(scope, status, seconds)

    def _route(self, scope: Scope) -> _Route:
        where = scope.get(ROUTE) or scope.get("endpoint")
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = self._routes.get((method, where))
        if route is None:
            route = self._routes[method, where] = _Route(method, template_of(scope))
        return route


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    told = {"method": scope["method"], "path": said_path(scope), "status": status}
    _access.info("request", extra={**told, "milliseconds": round(1000 * seconds, 1)})


class _Holdings(Collector):
    """How much is stored, asked at the moment of the scrape; nothing if the index fails."""

    def __init__(self, overview: Overview | None, free: int, gauges: Iterable[Figure]) -> None:
        self._overview = overview
        self._free = free
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield one number for each of them."""
        answers = float(self._overview is not None)
        yield GaugeMetricFamily("fileroom_index_up", "Whether the index answers", answers)
        room = "Bytes that can be stored before the disk is full"
        yield GaugeMetricFamily("fileroom_free_bytes", room, float(self._free))
        for name, those in groupby(self._gauges, key=lambda gauge: gauge.name):
            yield _family(name, list(those))
        for name, value in asdict(self._overview).items() if self._overview else ():
            text = f"Stored: {name}"
            yield GaugeMetricFamily(f"fileroom_stored_{name}", text, float(value))


def _family(name: str, gauges: Sequence[Figure]) -> Metric:
    """Return the gauges of one name, by their labels."""
    first = gauges[0]
    family = GaugeMetricFamily(f"fileroom_{name}", first.text, labels=list(first.labels))
    for gauge in gauges:
        family.add_metric(list(gauge.labels.values()), gauge.value)
    return family


class _Safety(Collector):
    """How safe what is stored is; nothing if the index fails."""

    def __init__(self, safety: Safety) -> None:
        self._safety = safety

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers of each store, and the findings by state."""
        safety, by = self._safety, ("store",)
        text = "Since when an object was not verified, at most"
        unverified = GaugeMetricFamily("fileroom_oldest_unverified_seconds", text, labels=by)
        for store, age in safety.ages.items():
            unverified.add_metric((store,), age)
        lag = GaugeMetricFamily(
            "fileroom_copy_lag_seconds", "How long the oldest task of a store waits", labels=by
        )
        waiting = GaugeMetricFamily(
            "fileroom_copy_tasks", "Objects to be copied, removed or repaired", labels=by
        )
        dead = GaugeMetricFamily(
            "fileroom_copy_tasks_dead", "Those of them that failed often", labels=by
        )
        for queue in safety.queues:
            lag.add_metric((queue.store,), queue.lag)
            waiting.add_metric((queue.store,), queue.waiting)
            dead.add_metric((queue.store,), queue.dead)
        found = GaugeMetricFamily("fileroom_findings", "Objects found lost", labels=("state",))
        for state, count in safety.findings.items():
            found.add_metric((state,), count)
        yield from (unverified, lag, waiting, dead, found)


def exposition(
    overview: Overview | None,
    free: int,
    gauges: Iterable[Figure] = (),
    safety: Safety | None = None,
) -> bytes:
    """Return the counts of all workers and what is stored, in Prometheus' text format."""
    stored = CollectorRegistry()
    stored.register(_Holdings(overview, free, gauges))
    if safety is not None:
        stored.register(_Safety(safety))
    counted = REGISTRY
    if DIRECTORY_VARIABLE in os.environ:
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    return generate_latest(stored) + generate_latest(counted)
