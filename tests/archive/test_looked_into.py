"""Searches by attributes that the index has no column for, held against the same rule in Python."""

from dataclasses import replace

import orjson
import pytest

from app.archive import looked_into
from app.archive.context import Archive
from app.dicom.attributes import Level
from app.dicom.limits import Limits
from app.errors import TooLarge
from app.index.instances import NewInstance, add_instances
from app.rights import Scope
from tests.any_attributes import ROOT, ask, expected, make_instances, uids


@pytest.fixture
async def filled(archive: Archive) -> tuple[Archive, list[NewInstance]]:
    """Six Studies of two Series of three Instances."""
    new = make_instances()
    async with archive.index.writing() as connection:
        await add_instances(connection, 1, "test", new)
    return archive, new


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize(
    "keys",
    [
        "SliceThickness=5.0",
        "SliceThickness=5&ImageType=DERIVED",
        "ViewCodeSequence.CodeValue=T-2",
        "00540220.00080100=T-*&SliceThickness=1",
        "00090010=ACME&00091001=two",
        "00090010=OTHER",
        'ContrastBolusAgent=""&emptyvaluematching=true',
        "PatientAge=033Y",
        "ProtocolName=*2",
        "ProtocolName=*2&PatientAge=034Y",
        "ProtocolName=*2&PatientAge=034Y&SliceThickness=5",
        "KVP=99999",
        "ContrastBolusAgent=Iohexol&OtherPatientIDs=none",
    ],
)
async def test_rows_are_found_by_any_attribute(
    filled: tuple[Archive, list[NewInstance]], level: Level, keys: str
) -> None:
    archive, new = filled
    result = await ask(archive, level, keys)
    assert set(uids(result, level)) == expected(new, level, keys)


async def test_keys_with_a_column_narrow_what_is_looked_into(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, new = filled
    small = replace(archive, limits=replace(Limits(), looked_into=12))
    with pytest.raises(TooLarge, match=r"SliceThickness .* more than 12 Instances .*PatientID"):
        await ask(small, Level.STUDY, "SliceThickness=5")
    for keys in ("SliceThickness=5&PatientID=P1", "SliceThickness=5&StudyDate=20240101-20240102"):
        found = set(uids(await ask(small, Level.INSTANCE, keys), Level.INSTANCE))
        named = {one.ref.instance for one in new if one.ref.study[-1] in "14"}
        dated = {one.ref.instance for one in new if one.ref.study[-1] in "12"}
        among = named if "PatientID" in keys else dated
        assert found == expected(new, Level.INSTANCE, "SliceThickness=5") & among
    result = await ask(small, Level.INSTANCE, "SliceThickness=5", study=f"{ROOT}.2")
    assert set(uids(result, Level.INSTANCE)) == {
        uid
        for uid in expected(new, Level.INSTANCE, "SliceThickness=5")
        if uid.startswith(f"{ROOT}.2.")
    }


async def test_what_belongs_to_a_study_or_series_is_looked_up_there(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, _ = filled
    few = replace(archive, limits=replace(Limits(), looked_into=6))
    assert uids(await ask(few, Level.STUDY, "PatientAge=032Y"), Level.STUDY) == [f"{ROOT}.2"]
    below = await ask(
        few, Level.INSTANCE, "PatientAge=032Y", study=f"{ROOT}.2", series=f"{ROOT}.2.1"
    )
    assert len(below.rows) == 3
    with pytest.raises(TooLarge, match="more than 6 Series"):
        await ask(few, Level.STUDY, "ProtocolName=*2")
    more = replace(archive, limits=replace(Limits(), looked_into=12))
    assert len((await ask(more, Level.STUDY, "ProtocolName=*2")).rows) == 6
    assert len((await ask(more, Level.SERIES, "ProtocolName=*2")).rows) == 6


async def test_keys_of_lower_levels_ask_for_one_child_that_meets_all(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, new = filled
    keys = "SliceThickness=5&InstanceNumber=2"
    second = {one.ref.study for one in new if one.ref.instance.endswith(".2")}
    thick = {
        one.ref.study
        for one in new
        if one.ref.instance.endswith(".2")
        and orjson.loads(one.scanned.metadata)["00180050"]["Value"] == [5.0]
    }
    assert set(uids(await ask(archive, Level.STUDY, keys), Level.STUDY)) == thick < second


async def test_pages_and_counts_are_of_what_matches(
    filled: tuple[Archive, list[NewInstance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, new = filled
    monkeypatch.setattr(looked_into, "_STEP", 5)
    wanted = expected(new, Level.INSTANCE, "SliceThickness=5")
    whole = uids(await ask(archive, Level.INSTANCE, "SliceThickness=5"), Level.INSTANCE)
    pages: list[str] = []
    for offset in range(0, len(wanted), 3):
        result = await ask(archive, Level.INSTANCE, f"SliceThickness=5&limit=3&offset={offset}")
        pages += uids(result, Level.INSTANCE)
        assert result.remaining == max(0, len(wanted) - offset - 3)
    assert pages == whole
    assert set(whole) == wanted


async def test_what_was_asked_for_is_returned(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, _ = filled
    result = await ask(archive, Level.INSTANCE, "SliceThickness=5&00090010=ACME&00091001=two")
    for row in map(orjson.loads, result.rows):
        assert row["00180050"]["Value"] == [5.0]
        block = next(key for key in row if row[key].get("Value") == ["ACME"])
        assert row[f"0009{block[6:]}01"]["Value"] == ["two"]


async def test_only_visible_studies_are_looked_into(
    filled: tuple[Archive, list[NewInstance]],
) -> None:
    archive, _ = filled
    small = replace(archive, limits=replace(Limits(), looked_into=6))
    scope = Scope(studies=frozenset({f"{ROOT}.3"}))
    result = await ask(small, Level.INSTANCE, "Modality=CT&ImageType=*", scope)
    assert len(result.rows) == 6
    result = await ask(small, Level.INSTANCE, "ImageType=*R*", scope)
    assert {uid.rpartition(".")[0][:-2] for uid in uids(result, Level.INSTANCE)} == {f"{ROOT}.3"}
    assert (await ask(small, Level.STUDY, "ImageType=*R*", Scope(tenant_id=2))).rows == []
