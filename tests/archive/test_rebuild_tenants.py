"""A rebuild brings back every tenant, with its name, its Studies and its log."""

from typing import Any

from app.archive.context import Archive
from app.archive.examine import State
from app.archive.labels import label_study, labels_of
from app.archive.rebuild import Outcome, Rebuilt, rebuild_index
from app.archive.sealed_log import verify_log
from app.archive.tenants import add_tenant, list_tenants, operator_of
from app.index.events import Position, read_events
from app.index.overview import count_everything
from app.rights import Principal
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

OPERATOR = Principal("operator")


async def test_all_tenants_come_back(archive: Archive, again: Archive) -> None:
    study = new_uid()
    shared: dict[str, Any] = {"StudyInstanceUID": new_uid(), "SOPInstanceUID": new_uid()}
    await add_tenant(archive, OPERATOR, "north")
    await add_tenant(archive, OPERATOR, "empty")
    north = await operator_of(archive, OPERATOR, "north")
    assert north.scope.tenant_id == 2
    await store(archive, OPERATOR, make_part10(**shared))
    await store(archive, north, make_part10(**shared), make_part10(StudyInstanceUID=study))
    await label_study(archive, north, study, ["trial:a"])
    for tenant in (1, 2):
        await archive.sealer.settle(tenant)
    told: list[Rebuilt] = []
    await rebuild_index(again, OPERATOR, told.append)
    assert [one.outcome for one in told] == [Outcome.LIVE] * 3
    names = [(one.number, one.name) for one in await list_tenants(again, OPERATOR)]
    assert names == [(1, "default"), (2, "north"), (3, "empty")]
    assert (await count_everything(again.index, OPERATOR.scope)).instances == 1
    assert (await count_everything(again.index, north.scope)).instances == 2
    assert await labels_of(again, north, study) == ["trial:a"]
    for tenant in (1, 2):
        old = await read_events(archive.index, tenant, Position())
        assert await read_events(again.index, tenant, Position()) == old
        assert {one.state async for one in verify_log(again, tenant)} == {State.SEALED}
