"""Wait until something is so, for tests of what goes on in the background."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(is_so: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Return when it is so.

    Raises:
        AssertionError: it is not in time.
    """
    for _ in range(int(seconds / 0.02)):
        if await is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not so after {seconds} s")
