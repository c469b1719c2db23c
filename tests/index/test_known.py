from app.archive.context import Archive
from app.index.known import known_instances
from app.rights import Principal, Scope
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10


async def test_instances_that_are_there_and_may_be_seen_are_known(
    archive: Archive, principal: Principal
) -> None:
    one, other = make_dataset(), make_dataset()
    await store(archive, principal, make_part10(one), make_part10(other))
    uids = [one.SOPInstanceUID, other.SOPInstanceUID, "1.2.3"]
    assert await known_instances(archive.index, Scope(), uids) == set(uids[:2])
    narrow = Scope(studies=frozenset({one.StudyInstanceUID}))
    assert await known_instances(archive.index, narrow, uids) == {one.SOPInstanceUID}
    assert await known_instances(archive.index, Scope(tenant_id=2), uids) == frozenset()
    assert await known_instances(archive.index, Scope(), []) == frozenset()
