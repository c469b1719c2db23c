"""How much there is, as counters know it."""

import pytest

from app.index.engine import Index, open_index
from app.index.instances import add_each_instance
from app.index.overview import Overview, count_everything
from app.rights import Scope
from tests.factories import make_series
from tests.index_factories import make_new_instance


@pytest.mark.parametrize("scope", [Scope(), Scope(studies=frozenset())])
async def test_an_empty_archive_holds_nothing(index: Index, scope: Scope) -> None:
    assert await count_everything(index, scope) == Overview(0, 0, 0, 0)


async def test_sums_are_kept_over_all_writers_and_made_for_named_studies(
    index: Index, database_url: str
) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(3)]
    other = make_new_instance()
    second = await open_index(database_url)
    await add_each_instance(index, 1, "tester", new)
    await add_each_instance(second, 1, "tester", [other, new[0]])
    await second.close()
    size = sum(one.size for one in new)
    assert await count_everything(index, Scope()) == Overview(2, 2, 4, size + other.size)
    named = Scope(studies=frozenset({new[0].ref.study, "1.2.3"}))
    assert await count_everything(index, named) == Overview(1, 1, 3, size)
    assert await count_everything(index, Scope(tenant_id=2)) == Overview(0, 0, 0, 0)
