"""What can be watched of a bridge, for Prometheus: associations, stores, and what is spooled."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.dimse.messages import Answer, StoreRequest
from app.dimse.peers import Peer
from app.dimse.spool import Spool

_LOOPBACK = "127.0.0.1"


class FiguresError(Exception):
    """The figures cannot be had on their port; the message is for an operator."""


class Counts:
    """Counts C-STOREs by their status, and what was sent on by its result."""

    def __init__(self, store: Callable[[Peer, StoreRequest], Answer]) -> None:
        self._store, self._lock = store, Lock()
        self.by_status: Counter[str] = Counter()
        self.forwarded: Counter[str] = Counter()

    def store(self, peer: Peer, request: StoreRequest) -> Answer:
        """Store, and count."""
        answer = self._store(peer, request)
        with self._lock:
            self.by_status[f"{answer[0]:04X}"] += 1
        return answer


class Figures(Collector):
    """The figures, as they are when they are asked for."""

    def __init__(self, counts: Counts, spool: Spool | None, open_now: Callable[[], int]) -> None:
        self._counts, self._spool, self._open_now = counts, spool, open_now

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        stores = CounterMetricFamily(
            "fileroom_dimse_stores", "C-STORE requests that were answered", labels=["status"]
        )
        for status, count in sorted(self._counts.by_status.items()):
            stores.add_metric([status], count)
        yield stores
        forwarded = CounterMetricFamily(
            "fileroom_dimse_forwarded",
            "Instances that were sent on for the archive",
            labels=["result"],
        )
        for result in ("sent", "failed"):
            forwarded.add_metric([result], self._counts.forwarded[result])
        yield forwarded
        yield GaugeMetricFamily(
            "fileroom_dimse_associations", "Associations that are open", self._open_now()
        )
        if self._spool is None:
            return
        figures = self._spool.figures()
        for name, words, value in (
            ("instances", "Instances that wait in the spool", figures.instances),
            ("bytes", "Bytes that wait in the spool", figures.bytes),
            ("oldest_seconds", "How long the oldest of them waits", figures.oldest_seconds),
            ("refused", "Instances that the archive refused", figures.refused),
        ):
            yield GaugeMetricFamily(f"fileroom_spool_{name}", words, value)


@contextmanager
def served_figures(figures: Figures, port: int) -> Iterator[None]:
    """Answer for the figures on a port of this machine alone.

    Raises:
        FiguresError: it cannot listen there.
    """
    registry = CollectorRegistry()
    registry.register(figures)
    try:
        server, thread = start_http_server(port, _LOOPBACK, registry)
    except OSError as error:
        raise FiguresError(
            f"Cannot listen on {_LOOPBACK}, port {port}, for the bridge's figures: "
            f"{os.strerror(error.errno or 0)}. Choose another FILEROOM_DIMSE__METRICS_PORT."
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
