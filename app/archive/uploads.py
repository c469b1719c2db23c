"""A record of each upload in parts, in the index: what a kill leaves of it, somebody else aborts.

The record is a task to abort the upload (`index.copies`), whose time does not come while the upload
goes on. So it is found when its time has come, as all tasks are; and an object that a row names by
then is left alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app.archive.beside import beside
from app.errors import ArchiveError, Unavailable
from app.index.copies import (
    CLAIM_SECONDS,
    begin_upload,
    end_upload,
    give_up_upload,
    renew_claim,
)
from app.index.engine import Index


class UploadRecords:
    """The records of the uploads to one store."""

    def __init__(self, index: Index, store: str) -> None:
        self._index = index
        self._store = store

    @asynccontextmanager
    async def going_on(self, key: str) -> AsyncIterator[None]:
        """Have a record that an upload to a key goes on, while the block runs.

        Raises:
            Unavailable: the index does not answer, or did not for so long that the upload was
                taken for dead.
        """
        number = await begin_upload(self._index, self._store, key)
        try:
            async with beside(self._renew(number)):  # over before it is given up: none comes after
                yield
        except BaseException:
            with suppress(ArchiveError):
                await asyncio.shield(give_up_upload(self._index, number))
            raise
        if not await end_upload(self._index, number):
            raise Unavailable("the upload was taken for dead")

    async def _renew(self, number: int) -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            with suppress(ArchiveError):
                await renew_claim(self._index, [number])
