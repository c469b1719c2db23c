"""Answers that nobody takes to their end leave no noise behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

from app.archive.answers import ahead, each
from app.archive.zipped import _Pieces, _Zip
from app.errors import InvalidDataset


async def test_jobs_ahead_that_fail_unseen_are_no_news() -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))

    async def fails(number: int) -> int:
        if number > 1:
            raise InvalidDataset("a frame is damaged")
        return number

    async def first_of(values: AsyncIterator[int]) -> int:
        return await anext(values)

    values: Any = ahead(each(range(1, 9)), fails, 4)
    assert await first_of(values) == 1
    await asyncio.sleep(0)
    values.ag_frame.f_locals["waiting"].clear()  # as if it were thrown away unended
    gc.collect()
    await asyncio.sleep(0)
    assert said == []


def test_a_zip_that_is_left_unended_is_no_news(recwarn: Any) -> None:
    target = _Zip(_Pieces(), "w")  # type: ignore[call-overload]
    entry = target.open("1.dcm", "w")
    entry.write(b"begun")
    target.__del__()
    assert not recwarn.list
    entry.close()
    target.close()
