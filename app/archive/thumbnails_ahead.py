"""Thumbnails made after a store, before anyone asks: a small queue in each process, nothing more.

A worklist shows many Series at once, and the first look at it should not wait for a picture of
each. So a store notes its Series here, and when a Series has come to rest and nothing else goes on,
its thumbnail is made as for a caller and stays in the cache; that of a Study is that of one of its
Series. A store never waits for this and never fails by it. What is lost by an overflow or a kill is
made when it is asked for.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.archive.beside import beside
from app.archive.context import Archive
from app.archive.render import RenderRequest
from app.archive.thumbnails import plan_thumbnail
from app.archive.upcoming import Upcoming
from app.dicom.pictures import JPEG
from app.errors import ArchiveError
from app.mime.media_types import Form
from app.rights import Principal, Scope

MAKER = "thumbnails"
"""Who asks."""
_REQUEST = RenderRequest((Form(JPEG, multipart=False),))
_log = logging.getLogger(__name__)


@asynccontextmanager
async def thumbnails_made_ahead(archive: Archive) -> AsyncIterator[None]:
    """Make thumbnails of what is stored while the block runs."""
    async with beside(_make_all(archive, archive.upcoming)):
        yield


async def _make_all(archive: Archive, upcoming: Upcoming) -> None:
    while True:
        tenant_id, series = await upcoming.next(archive.workers.is_idle)
        principal = Principal(MAKER, Scope(tenant_id))
        try:
            rendering = await plan_thumbnail(archive, principal, series, _REQUEST, None)
            await rendering.open()
        except ArchiveError as error:  # no image, or none that can be shown, or gone by now
            _log.debug("no thumbnail of Series %s was made: %s", series.series, error)
        except Exception:
            _log.exception("the thumbnail of Series %s failed", series.series)
