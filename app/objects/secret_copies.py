"""The secrets of an archive in several stores: each has all of them, so that any one is enough."""

import logging
from collections.abc import Mapping

from app.errors import ArchiveError, Conflict, Unavailable
from app.objects.base import ObjectStore
from app.objects.bucket import FIRST

_log = logging.getLogger(__name__)


async def secrets_of(stores: Mapping[str, ObjectStore]) -> dict[str, bytes]:
    """Return all secrets that any store has; the first store's go before a copy's.

    A copy that does not answer adds none.

    Raises:
        Unavailable: the first store does not answer.
    """
    return (await _look(stores))[0]


async def secret_of(stores: Mapping[str, ObjectStore], name: str) -> bytes:
    """Return a secret that all have, made at the first call; a copy that is away gets it later.

    Raises:
        Unavailable: the first store does not answer; or it has none, and neither does a copy that
            may have it answer.
    """
    known, silent = await _look(stores)
    first = stores[FIRST]
    if name in known:
        await first.keep_secret(name, known[name])
    elif silent is not None:
        raise silent
    secret = await first.secret(name)
    for copy in stores:
        if copy != FIRST:
            try:
                await _keep(stores[copy], copy, name, secret)
            except ArchiveError as error:
                _log.warning("store %s gets secret %s later: %s", copy, name, error)
    return secret


async def spread_secrets(stores: Mapping[str, ObjectStore], name: str) -> None:
    """Put into one of the stores the secrets that others have and it lacks.

    Raises:
        Unavailable, StorageFull: it or the first store does not answer, or there is no room.
    """
    there = await stores[name].all_secrets()
    for one, secret in (await secrets_of(stores)).items():
        if there.get(one) != secret:
            await _keep(stores[name], name, one, secret)


async def _look(
    stores: Mapping[str, ObjectStore],
) -> tuple[dict[str, bytes], Unavailable | None]:
    """Return all secrets, and why a copy does not answer, if one does not."""
    found: dict[str, bytes] = {}
    silent: Unavailable | None = None
    for name, store in stores.items():
        try:
            kept = await store.all_secrets()
        except Unavailable as error:
            if name == FIRST:
                raise
            silent = error
        else:
            found = {**kept, **found}
    return found, silent


async def _keep(store: ObjectStore, copy: str, name: str, secret: bytes) -> None:
    try:
        await store.keep_secret(name, secret)
    except Conflict:
        _log.error(
            "store %s has another secret named %s: which is right, a backup says", copy, name
        )
