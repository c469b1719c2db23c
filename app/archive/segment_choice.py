"""Which store's segment a rebuild believes, where no index says what was sealed."""

from collections.abc import Mapping

from app.archive.sealing import fetch_segment
from app.archive.segment import Chain, Segment
from app.errors import ArchiveError, Damaged, NotFound, Unavailable
from app.objects.base import ObjectStore


async def choose_segment(
    stores: Mapping[str, ObjectStore], key: str, chain: Chain, *, doubtful: bool
) -> tuple[Segment | None, list[str]]:
    """Return the next segment of a chain from the first store that has it sound.

    Where none has, with `doubtful`: the one with the fewest faults, None if there is none, and what
    is wrong with it in each store. The chain stays where it is.

    Raises:
        Damaged: no store has it sound.
        Unavailable: none has, and one that may have it does not answer.
    """
    faults: list[str] = []
    found: list[tuple[int, Segment]] = []
    silent: ArchiveError | None = None
    for name, store in stores.items():
        try:
            segment = await fetch_segment(store, key)
        except (NotFound, Unavailable) as error:
            faults.append(f"{name}: {error}")
            silent = await _silence(store) or silent
            continue
        wrong = chain.copy().faults(segment)
        if not wrong:
            return segment, []
        found.append((len(wrong), segment))
        faults.append(f"{name}: {', '.join(wrong)}")
    if silent is not None:
        raise silent
    if not doubtful:
        raise Damaged(
            f"no store has segment {key} of the log as it was signed: {'; '.join(faults)}. Bring "
            "it back from a copy or a backup, and its key's secret if that is missing, and run "
            "this again; `fileroom rebuild --doubtful` believes what is there"
        )
    return (min(found, key=lambda one: one[0])[1] if found else None), faults


async def _silence(store: ObjectStore) -> ArchiveError | None:
    """Return why a store does not answer, None if it does."""
    try:
        await store.check()
    except Unavailable as error:
        return error
    return None
