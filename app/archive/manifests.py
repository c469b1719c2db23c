"""Making the manifest of a day from what is sealed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from app.archive.context import Archive
from app.archive.manifest import MANIFEST_END, ManifestHead, manifest_segment, manifest_start
from app.archive.receipts import fetch_sealed
from app.archive.seal_keys import load_key
from app.errors import Forbidden, InvalidRequest, NotFound
from app.index.seal_keys import list_keys
from app.index.segments import (
    count_sealed,
    last_segment_before,
    list_segments,
    time_between_seals,
)
from app.rights import Principal


async def open_manifest(archive: Archive, principal: Principal, day: str) -> AsyncIterator[bytes]:
    """Return the manifest of a day (YYYY-MM-DD, UTC) in pieces, one for each segment.

    Raises:
        Forbidden: `principal` may not administer: it tells of all Studies.
        InvalidRequest: `day` is none.
        NotFound: nothing was sealed on that day.
        Unavailable: index or store do not answer, or a segment is damaged; that ends the pieces.
    """
    if not principal.administers_all:
        raise Forbidden("Manifests are for administrators")
    begins, ends = _bounds(day)
    index, tenant_id = archive.index, principal.scope.tenant_id
    now = await time_between_seals(index, tenant_id)
    last = await last_segment_before(index, tenant_id, ends)
    counted = await count_sealed(index, tenant_id, begins, last.number) if last else None
    if last is None or counted is None:
        raise NotFound("Manifest", day)
    before = await last_segment_before(index, tenant_id, begins)
    key = await load_key(index, archive.objects, tenant_id, last.next_key)
    head = ManifestHead(
        tenant_id=tenant_id,
        day=begins.date(),
        complete=now >= ends,
        first=counted[0],
        last=last.number,
        entries=counted[1],
        before=before.hash if before else b"",
        last_hash=last.hash,
        key=key.id,
    )
    keys = [one.public for one in await list_keys(index, tenant_id)]
    start = manifest_start(head, key.sign(head.as_bytes()), keys)
    return _pieces(archive, head, (begins, ends), start)


def _bounds(day: str) -> tuple[datetime, datetime]:
    """Return when a day begins, and when the next one does."""
    try:
        begins = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
        return begins, begins + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidRequest("A day as 2026-01-31 was expected") from None


async def _pieces(
    archive: Archive, head: ManifestHead, between: tuple[datetime, datetime], start: bytes
) -> AsyncIterator[bytes]:
    yield start
    async for row in list_segments(archive.index, head.tenant_id, between, head.last):
        segment = await fetch_sealed(archive, row)
        yield manifest_segment(segment, first=row.number == head.first)
    yield MANIFEST_END
