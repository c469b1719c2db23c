"""Errors of the operating system in our words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import StorageFull, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def os_faults() -> Iterator[None]:
    """Turn an OSError in the block into one of ours; the first stays as its cause.

    Raises:
        StorageFull: no room, or over a quota.
        Unavailable: any other fault.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("there is no room left for objects") from error
        raise Unavailable("the object store does not answer") from error
