"""Probes and metrics. They say nothing that a stranger may not know; `/metrics` asks for a key."""

from contextlib import suppress

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.admin import metrics
from app.admin.figures import Figure, read_gauges
from app.archive.findings import Safety, count_safety
from app.errors import ArchiveError, Forbidden, Unavailable
from app.index.alive import check_alive
from app.index.overview import Overview, count_everything
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep

router = APIRouter(tags=["Operation"])
FULL = "full: nothing more can be stored"
NO_STORE = {"Cache-Control": "no-store"}


@router.get("/health/live")
async def get_live() -> JSONResponse:
    """Say that this process answers."""
    return JSONResponse({"status": "live"}, headers=NO_STORE)


@router.get("/health/ready", responses={503: {"description": "The index or the objects fail."}})
async def get_ready(archive: ArchiveDep) -> JSONResponse:
    """Say whether index and objects answer, so whether requests can be served.

    A full disk is told of, but leaves the archive ready: what is stored can still be read.
    """
    checks = {"index": "ok", "objects": "ok"}
    try:
        await check_alive(archive.index)
    except ArchiveError:
        checks["index"] = "does not answer"
    try:
        await archive.objects.check()
        if not await archive.staging.free_bytes():
            checks["objects"] = FULL
    except ArchiveError:
        checks["objects"] = "does not answer"
    ready = set(checks.values()) <= {"ok", FULL}
    body = {"status": "ready" if ready else "unavailable", **checks}
    return JSONResponse(body, 200 if ready else 503, headers=NO_STORE)


@router.get("/metrics", responses=contract.KNOWN, response_class=Response)
async def get_metrics(principal: PrincipalDep, archive: ArchiveDep) -> Response:
    """Return what all workers have counted and what is stored, in Prometheus' text format."""
    if not principal.administers_all:
        raise Forbidden("Metrics are for operators")
    overview: Overview | None = None
    safety: Safety | None = None
    gauges: list[Figure] = []
    with suppress(Unavailable):
        overview = await count_everything(archive.index, principal.scope)
        gauges = await read_gauges(archive)
        safety = await count_safety(archive)
    free = await archive.staging.free_bytes()
    counts = metrics.exposition(overview, free, gauges, safety)
    return Response(counts, media_type=metrics.CONTENT_TYPE, headers=NO_STORE)
