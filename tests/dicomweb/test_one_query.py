"""What is read often asks the index once, and the trail once a minute."""

from typing import Any

import httpx
import pytest

from app.index.engine import Index
from tests.dicomweb.test_wado_rs import DICOM, path_of, store
from tests.factories import make_dataset, make_part10, make_series

MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are read by key, as they come."""
    statements: list[str] = []
    for name in ("fetch", "fetchrow"):
        read = getattr(Index, name)

        def told(index: Index, sql: str, *arguments: object, read: Any = read) -> Any:
            statements.append(sql)
            return read(index, sql, *arguments)

        monkeypatch.setattr(Index, name, told)
    return statements


@pytest.mark.parametrize("accept", [DICOM, MULTIPART])
async def test_one_instance_takes_one_query(
    client: httpx.AsyncClient, asked: list[str], accept: str
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    await client.get(path_of(dataset), headers={"accept": accept})
    asked.clear()
    answer = await client.get(path_of(dataset), headers={"accept": accept})
    assert answer.status_code == 200
    assert len(asked) == 1, asked
    asked.clear()
    headers = {"accept": accept, "if-none-match": answer.headers["etag"]}
    assert (await client.get(path_of(dataset), headers=headers)).status_code == 304
    assert len(asked) == 1


async def test_a_series_that_the_caller_has_takes_one_query(
    client: httpx.AsyncClient, asked: list[str]
) -> None:
    series = make_series(3)
    for dataset in series:
        await store(client, make_part10(dataset))
    url = path_of(dataset).rpartition("/instances")[0]
    await client.get(url, headers={"accept": MULTIPART})
    asked.clear()
    answer = await client.get(url, headers={"accept": MULTIPART})
    assert answer.content.count(b"DICM") == 3
    assert len(asked) == 4  # the Series and its syntaxes, its Series, their keys, the places
    asked.clear()
    headers = {"accept": MULTIPART, "if-none-match": answer.headers["etag"]}
    assert (await client.get(url, headers=headers)).status_code == 304
    assert len(asked) == 1
