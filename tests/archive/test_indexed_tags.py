"""Searches by attributes that the operator has chosen, held against the same rule in Python."""

import asyncio
from dataclasses import replace

import pytest

from app.archive.context import Archive
from app.archive.indexed_tags import index_tag, list_tags, unindex_tag
from app.archive.removal import delete, reject, restore
from app.dicom.attributes import Level
from app.dicom.chosen_attributes import read_chosen
from app.dicom.limits import Limits
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Conflict, Forbidden, NotFound, TooLarge
from app.index import attribute_values
from app.index.attribute_values import State, choose, fill, list_indexed
from app.index.instances import NewInstance, add_each_instance
from app.rights import Principal, Verb
from tests.any_attributes import (
    OPERATOR,
    ROOT,
    ask,
    choose_all,
    expected,
    make_instances,
    only_indexed,
    uids,
)
from tests.index_factories import make_new_instance

TAGS = [
    "SliceThickness",
    "ImageType",
    "ViewCodeSequence.CodeValue",
    "00090010=ACME&00091001",
    "00090010",
    "ContrastBolusAgent",
    "PatientAge",
    "ProtocolName",
    "KVP",
    "OtherPatientIDs",
]


@pytest.fixture(params=["chosen before", "chosen after"])
async def filled(
    request: pytest.FixtureRequest, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> tuple[Archive, list[NewInstance]]:
    """Six Studies of two Series of three Instances, stored before or after the tags are chosen."""
    monkeypatch.setattr(attribute_values, "PAUSE", 0.01)
    new = make_instances()
    if request.param == "chosen before":
        await choose_all(archive, *TAGS)
    for start in (0, 10, 11):  # many at once, one, and the rest
        some = new[start : {0: 10, 10: 11, 11: None}[start]]
        assert not any(await add_each_instance(archive.index, 1, "test", some))
    if request.param == "chosen after":
        await choose_all(archive, *TAGS)
    return only_indexed(archive), new


@pytest.mark.parametrize("level", Level)
async def test_the_index_answers_for_chosen_attributes_as_looking_into_the_data_does(
    filled: tuple[Archive, list[NewInstance]], level: Level
) -> None:
    archive, new = filled
    for keys in (
        "SliceThickness=5.0",
        "SliceThickness=5&ImageType=DERIVED",
        "ImageType=DERIVED\\SECONDARY&multiplevaluematching=true",
        "ImageType=DERIVED\\PRIMARY&multiplevaluematching=true",
        "ImageType=DERIVED,NONE*",
        "ViewCodeSequence.CodeValue=T-2",
        "00540220.00080100=T-*&SliceThickness=1",
        "ViewCodeSequence.CodeValue=?-3&ProtocolName=*2",
        "00090010=ACME&00091001=two",
        "00110010=ACME&00111001=two",
        "00090011=ACME&00091101=*w*",
        "00090010=OTHER",
        'ContrastBolusAgent=""&emptyvaluematching=true',
        "ContrastBolusAgent=IOHEXOL",
        "PatientAge=033Y",
        "ProtocolName=*2&PatientAge=034Y&SliceThickness=5",
        "KVP=99999",
        "ContrastBolusAgent=Iohexol&OtherPatientIDs=none",
    ):
        if "0011" in keys and "0009" not in keys:
            with pytest.raises(TooLarge):  # another group: another attribute
                await ask(archive, level, keys)
            continue
        found = uids(await ask(archive, level, keys), level)
        assert set(found) == expected(new, level, keys), keys


async def test_what_is_not_chosen_is_still_looked_into_and_the_refusal_names_the_command(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, new = filled
    few = replace(archive, limits=replace(Limits(), looked_into=20))
    keys = "SliceThickness=5&ConvolutionKernel=x"
    with pytest.raises(TooLarge, match=r"fileroom index-tags add ConvolutionKernel$"):
        await ask(archive, Level.STUDY, keys)
    assert uids(await ask(few, Level.STUDY, keys), Level.STUDY) == []
    with pytest.raises(TooLarge, match=r"add '00090010=OTHER&00091001'$"):
        await ask(archive, Level.STUDY, "00090010=OTHER&00091001=no")
    found = await ask(few, Level.INSTANCE, "SliceThickness=5&ImageType=*ER*&Rows=16")
    assert set(uids(found, Level.INSTANCE)) <= expected(new, Level.INSTANCE, "SliceThickness=5")


async def counted(archive: Archive) -> int:
    rows = await archive.index.fetch("SELECT count(*) FROM attribute_value")
    return int(rows[0][0])


async def orphans(archive: Archive) -> int:
    rows = await archive.index.fetch(
        "SELECT count(*) FROM attribute_value v JOIN indexed_attribute a ON a.id = attribute_id"
        " WHERE NOT CASE level WHEN 0 THEN EXISTS (SELECT FROM study WHERE id = owner_key)"
        " WHEN 1 THEN EXISTS (SELECT FROM series WHERE id = owner_key)"
        " ELSE EXISTS (SELECT FROM instance WHERE id = owner_key) END"
    )
    return int(rows[0][0])


async def test_values_follow_what_is_deleted_rejected_restored_and_stored_again(
    filled: tuple[Archive, list[NewInstance]], monkeypatch: pytest.MonkeyPatch
) -> None:  # D-01
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    archive, new = filled
    gone = {f"{ROOT}.1", f"{ROOT}.2.1", f"{ROOT}.3.1.1", f"{ROOT}.4.2.2"}
    all_at_first = await counted(archive)
    await delete(archive, OPERATOR, StudyRef(f"{ROOT}.1"))
    await delete(archive, OPERATOR, SeriesRef(f"{ROOT}.2", f"{ROOT}.2.1"))
    await delete(archive, OPERATOR, InstanceRef(f"{ROOT}.3", f"{ROOT}.3.1", f"{ROOT}.3.1.1"))
    rejected = InstanceRef(f"{ROOT}.4", f"{ROOT}.4.2", f"{ROOT}.4.2.2")
    await reject(archive, OPERATOR, rejected, "113001^DCM")
    assert await orphans(archive) == 0
    left = [one for one in new if not gone & {one.ref.study, one.ref.series, one.ref.instance}]
    for keys in ("SliceThickness=1.0", "ProtocolName=*1", "PatientAge=031Y", "ImageType=*I*"):
        found = uids(await ask(archive, Level.INSTANCE, keys), Level.INSTANCE)
        assert set(found) == expected(left, Level.INSTANCE, keys)
    await restore(archive, OPERATOR, rejected)
    again = [one for one in new if one not in left and one.ref != rejected]
    assert not any(await add_each_instance(archive.index, 1, "test", again))
    for keys in ("SliceThickness=5", "ProtocolName=*1", "PatientAge=031Y"):
        found = uids(await ask(archive, Level.INSTANCE, keys), Level.INSTANCE)
        assert set(found) == expected(new, Level.INSTANCE, keys)
    assert await counted(archive) == all_at_first


async def test_a_study_described_anew_has_the_values_of_the_instance_that_is_left(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    await choose_all(archive, "PatientAge", "ProtocolName")
    study, series = f"{ROOT}.1", f"{ROOT}.1.1"
    new = [
        make_new_instance(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{number}",
            PatientAge=f"00{number}Y",
            ProtocolName=f"P{number}",
        )
        for number in (1, 2)
    ]
    assert not any(await add_each_instance(archive.index, 1, "test", new))
    limited = only_indexed(archive)
    for number in (1, 2):
        keys = f"PatientAge=00{number}Y&ProtocolName=P{number}"
        assert len((await ask(limited, Level.SERIES, keys)).rows) == 2 - number
    await delete(archive, OPERATOR, InstanceRef(study, series, f"{series}.1"))
    assert len((await ask(limited, Level.SERIES, "PatientAge=002Y&ProtocolName=P2")).rows) == 1
    assert (await ask(limited, Level.STUDY, "PatientAge=001Y")).rows == []


async def test_filling_goes_on_where_it_was_interrupted_and_is_not_used_before_it_ends(
    filled: tuple[Archive, list[NewInstance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, new = filled
    monkeypatch.setattr(
        attribute_values,
        "NEXT_ROWS",
        {k: v.replace("LIMIT 200", "LIMIT 7") for k, v in attribute_values.NEXT_ROWS.items()},
    )
    chosen = read_chosen("InstanceCreationTime")
    indexed = await choose(archive.index, 1, "test", chosen)
    assert await fill(archive.index, indexed.key) == 7
    assert await fill(archive.index, indexed.key) == 7
    keys = 'InstanceCreationTime=""&emptyvaluematching=true'
    with pytest.raises(TooLarge, match=r"InstanceCreationTime is being indexed \(39% so far\)"):
        await ask(archive, Level.INSTANCE, keys)
    seen: list[float] = []
    done = await index_tag(archive, OPERATOR, chosen, lambda one: seen.append(one.share))
    assert (done.state, done.done, done.share) == (State.READY, 36, 1)
    assert seen == sorted(seen)
    assert seen[0] == 14 / 36
    assert len((await ask(archive, Level.INSTANCE, keys)).rows) == len(new)
    assert await fill(archive.index, indexed.key) is None


async def test_what_is_removed_from_the_index_is_looked_into_again_and_can_be_chosen_again(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, new = filled
    chosen = read_chosen("SliceThickness")
    await unindex_tag(archive, OPERATOR, chosen)
    assert "SliceThickness" not in {one.shown for one in await list_tags(archive, OPERATOR)}
    rows = await archive.index.fetch(
        "SELECT FROM attribute_value WHERE attribute_id NOT IN (SELECT id FROM indexed_attribute)"
    )
    assert rows == []
    with pytest.raises(TooLarge, match="SliceThickness is not in the index"):
        await ask(archive, Level.STUDY, "SliceThickness=5")
    with pytest.raises(NotFound):
        await unindex_tag(archive, OPERATOR, chosen)
    await choose_all(archive, "SliceThickness")
    keys = "SliceThickness=5"
    found = uids(await ask(archive, Level.INSTANCE, keys), Level.INSTANCE)
    assert set(found) == expected(new, Level.INSTANCE, keys)


async def test_a_removal_that_was_cut_short_has_to_be_finished_first(archive: Archive) -> None:
    chosen = read_chosen("SliceThickness")
    await choose_all(archive, "SliceThickness")
    async with archive.index.writing() as connection:
        await connection.execute("UPDATE indexed_attribute SET state = 'leaving'")
    with pytest.raises(Conflict, match="finish that first"):
        await index_tag(archive, OPERATOR, chosen, lambda _: None)
    await unindex_tag(archive, OPERATOR, chosen)
    assert await list_tags(archive, OPERATOR) == []


async def test_what_another_version_indexed_otherwise_is_not_used(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, _ = filled
    async with archive.index.writing() as connection:
        await connection.execute("UPDATE indexed_attribute SET vr = 'LO' WHERE name = '00180050'")
        await connection.execute(
            "UPDATE indexed_attribute SET name = '00100020' WHERE name = '00180060'"
        )
    states = {one.shown: one.state for one in await list_indexed(archive.index, 1)}
    assert states["SliceThickness"] is states["00100020"] is State.OUTDATED
    with pytest.raises(TooLarge, match="the index of SliceThickness cannot tell"):
        await ask(archive, Level.STUDY, "SliceThickness=5")


async def test_only_who_administers_may_choose(archive: Archive) -> None:
    somebody = Principal("somebody", verbs=frozenset(Verb) - {Verb.ADMINISTER})
    chosen = read_chosen("SliceThickness")
    with pytest.raises(Forbidden):
        await index_tag(archive, somebody, chosen, lambda _: None)
    with pytest.raises(Forbidden):
        await unindex_tag(archive, somebody, chosen)
    with pytest.raises(Forbidden):
        await list_tags(archive, somebody)


async def test_choosing_waits_for_writers_and_lets_them_pass_meanwhile(archive: Archive) -> None:
    async with archive.index.writing() as connection:
        await connection.execute("LOCK TABLE instance IN ROW EXCLUSIVE MODE")
        choosing = asyncio.create_task(choose(archive.index, 1, "test", read_chosen("KVP")))
        await asyncio.sleep(1.5)
        assert not choosing.done()
        new = make_new_instance(KVP="120")
        assert await add_each_instance(archive.index, 1, "test", [new]) == [None]
    assert (await choosing).state is State.FILLING


async def test_nothing_is_missed_that_is_stored_while_an_attribute_is_chosen(
    archive: Archive,
) -> None:
    """Four writers store all the while; then each Instance has its value, and one alone."""
    ended = False

    async def store(series: int) -> int:
        number = 0
        while not ended or number < 5:
            number += 1
            one = make_new_instance(
                StudyInstanceUID=f"{ROOT}.{series % 2}",
                SeriesInstanceUID=f"{ROOT}.{series}.1",
                SOPInstanceUID=f"{ROOT}.{series}.1.{number}",
                SliceThickness=number,
            )
            assert await archive.writer.add(1, "test", [one]) == [None]
        return number

    writers = [asyncio.create_task(store(series)) for series in range(4)]
    await asyncio.sleep(0.2)
    await choose_all(archive, "SliceThickness", "ImageType")
    await asyncio.sleep(0.1)
    ended = True
    total = sum(await asyncio.gather(*writers))
    rows = await archive.index.fetch(
        "SELECT value FROM instance JOIN attribute_value v ON owner_key = instance.id"
        " JOIN indexed_attribute a ON a.id = attribute_id WHERE a.name = '00180050'"
        " AND value = split_part(sop_instance_uid, '.', -1) || '.0'"
    )
    assert len(rows) == total
