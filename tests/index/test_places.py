"""Where Instances lie and their Metadata, page by page, asked of a real PostgreSQL."""

import pytest

from app.dicom.uids import InstanceRef, Ref, SeriesRef, StudyRef
from app.errors import NotFound
from app.index import places
from app.index.engine import Index
from app.index.instances import NewInstance, add_each_instance
from app.index.packing import metadata_unpacker
from app.index.places import load_metadata, locate_instance, locate_instances, locate_version
from app.rights import Scope
from tests.factories import new_uid
from tests.index_factories import make_new_instance

EVERYTHING = Scope()
STUDY = new_uid()
NUMBERS: dict[str, tuple[int | None, list[int | None]]] = {
    "second": (2, [3, None, 1, 2]),
    "first": (1, [10, 9]),
    "unnumbered": (None, [1]),
}


@pytest.fixture
async def new(index: Index) -> list[NewInstance]:
    """The Instances of a Study of three Series in the order of a reader, stored in another."""
    made = [
        make_new_instance(
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=f"{STUDY}.{series}",
            SeriesNumber=number,
            InstanceNumber=instance,
        )
        for series, (number, instances) in enumerate(NUMBERS.values())
        for instance in instances
    ]
    assert await add_each_instance(index, 1, "tester", made) == [None] * 7
    second, first, last = made[:4], made[4:6], made[6:]
    return [first[1], first[0], second[2], second[3], second[0], second[1], *last]


def refs(new: list[NewInstance]) -> list[tuple[Ref, list[NewInstance]]]:
    one = new[2].ref
    return [
        (StudyRef(one.study), new),
        (SeriesRef(one.study, one.series), new[2:6]),
        (one, new[2:3]),
    ]


@pytest.mark.parametrize("page", [500, 2])
async def test_instances_come_in_the_order_of_a_reader(
    index: Index, new: list[NewInstance], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(places, "PAGE", page)
    for ref, expected in refs(new):
        found = [place async for place in await locate_instances(index, EVERYTHING, ref)]
        assert [place.ref for place in found] == [one.ref for one in expected]
        assert [place.object_key for place in found] == [one.object_key for one in expected]


@pytest.mark.parametrize("page", [500, 2])
async def test_metadata_comes_in_the_same_order_and_unpacks(
    index: Index, new: list[NewInstance], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(places, "PAGE", page)
    for ref, expected in refs(new):
        found = []
        async for one in await load_metadata(index, EVERYTHING, ref):
            unpack = metadata_unpacker(one.dictionary)
            for uid, packed in one.instances:
                found.append((InstanceRef(one.ref.study, one.ref.series, uid), unpack(packed)))
        assert found == [(one.ref, one.scanned.metadata) for one in expected]


async def test_one_instance_is_located(index: Index, new: list[NewInstance]) -> None:
    place = await locate_instance(index, EVERYTHING, new[3].ref)
    assert (place.ref, place.object_key) == (new[3].ref, new[3].object_key)


@pytest.mark.parametrize("level", [0, 1, 2])
async def test_what_is_not_there_or_not_in_scope_is_not_found(
    index: Index, new: list[NewInstance], level: int
) -> None:
    ref, _ = refs(new)[level]
    absent: list[Ref] = [
        StudyRef("1.2"),
        SeriesRef(STUDY, "1.2"),
        InstanceRef(STUDY, f"{STUDY}.0", "1.2"),
    ]
    asked = [
        (EVERYTHING, absent[level]),
        (Scope(studies=frozenset({"1.2"})), ref),
        (Scope(tenant_id=7), ref),
    ]
    for scope, each in asked:
        for ask in (locate_instances, load_metadata, locate_version):
            with pytest.raises(NotFound):
                await ask(index, scope, each)


async def test_the_wrong_hierarchy_is_not_found(index: Index, new: list[NewInstance]) -> None:
    ref = InstanceRef(STUDY, f"{STUDY}.2", new[0].ref.instance)  # W-17
    with pytest.raises(NotFound, match=ref.instance):
        await locate_instance(index, EVERYTHING, ref)
    with pytest.raises(NotFound, match=f"{STUDY}.2"):
        await locate_version(index, EVERYTHING, SeriesRef("1.2", f"{STUDY}.2"))


async def test_a_version_changes_with_what_is_added_and_only_there(
    index: Index, new: list[NewInstance]
) -> None:
    names: list[Ref] = [StudyRef(STUDY), SeriesRef(STUDY, f"{STUDY}.0"), new[0].ref]
    other = SeriesRef(STUDY, f"{STUDY}.1")
    names.append(other)
    before = [await locate_version(index, EVERYTHING, ref) for ref in names]
    more = make_new_instance(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.0")
    await add_each_instance(index, 1, "tester", [more])
    after = [await locate_version(index, EVERYTHING, ref) for ref in names]
    assert [one == two for one, two in zip(before, after, strict=True)] == [
        False,
        False,
        True,
        True,
    ]


async def test_an_instance_removed_between_pages_is_left_out(
    index: Index, new: list[NewInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PAGE", 1)
    found = await locate_instances(index, EVERYTHING, SeriesRef(STUDY, f"{STUDY}.0"))
    first = await anext(found)
    async with index.writing() as connection:
        await connection.execute(
            "DELETE FROM instance WHERE sop_instance_uid = $1", new[3].ref.instance
        )
    rest = [place.ref async for place in found]
    assert [first.ref, *rest] == [new[2].ref, new[4].ref, new[5].ref]
