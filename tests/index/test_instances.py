"""Adding Instances against a real PostgreSQL."""

from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.errors import InvalidDataset
from app.index import parents
from app.index.engine import Index
from app.index.instances import (
    NewInstance,
    add_each_instance,
    add_instances,
    add_to_known,
)
from app.index.packing import unpack_metadata
from app.index.present import Present
from tests.factories import make_series, new_uid
from tests.index_factories import make_new_instance


async def add(index: Index, *new: NewInstance) -> list[Present | InvalidDataset | None]:
    return await add_each_instance(index, 1, "tester", new)


async def study_of(index: Index, one: NewInstance) -> asyncpg.Record:
    row = await index.fetchrow("SELECT * FROM study WHERE study_instance_uid = $1", one.ref.study)
    assert row is not None
    return row


async def series_of(index: Index, one: NewInstance) -> asyncpg.Record:
    row = await index.fetchrow(
        "SELECT * FROM series WHERE series_instance_uid = $1", one.ref.series
    )
    assert row is not None
    return row


async def count(index: Index, table: str) -> int:
    row = await index.fetchrow(f"SELECT count(*) FROM {table}")  # noqa: S608
    assert row is not None
    return int(row[0])


async def test_an_instance_is_added_with_its_parents(index: Index) -> None:
    one = make_new_instance(Modality="CT", PatientID="P1", StudyDescription="Thorax")
    assert await add(index, one) == [None]
    study, series = await study_of(index, one), await series_of(index, one)
    assert (study["patient_id"], study["study_description"]) == ("P1", "Thorax")
    assert (study["number_of_series"], study["number_of_instances"]) == (1, 1)
    assert study["modalities"] == ["CT"]
    assert study["sop_classes"] == series["sop_classes"] == ["1.2.840.10008.5.1.4.1.1.2"]
    assert study["size"] == one.size
    assert series["number_of_instances"] == 1
    patient = await index.fetchrow("SELECT * FROM patient WHERE id = $1", study["patient_key"])
    assert patient is not None
    assert patient["number_of_studies"] == 1


async def test_every_column_of_an_instance_is_what_was_given(index: Index) -> None:
    one = make_new_instance(NumberOfFrames=3, Rows=4, Columns=6, InstanceNumber=7)
    await add(index, one)
    series = await series_of(index, one)
    row = await index.fetchrow("SELECT * FROM instance")
    assert row is not None
    assert row["object_key"] == one.object_key
    assert (row["sha256"], row["dataset_sha256"]) == (one.sha256, one.dataset_sha256)
    assert (row["size"], row["base_offset"]) == (one.size, 0)
    assert (row["rows"], row["columns"], row["number_of_frames"]) == (4, 6, 3)
    assert row["instance_number"] == 7
    assert row["dataset_offset"] == one.scanned.dataset_offset
    assert row["frame_count"] == 3
    unpacked = unpack_metadata(series["metadata_dictionary"], row["metadata"])
    assert unpacked == one.scanned.metadata


async def test_the_metadata_of_a_series_costs_little_and_comes_back(index: Index) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(20)]
    await add(index, *new)
    series = await series_of(index, new[0])
    rows = await index.fetch("SELECT sop_instance_uid, metadata FROM instance")
    packed = {row["sop_instance_uid"]: row["metadata"] for row in rows}
    for one in new:
        data = packed[one.ref.instance]
        assert unpack_metadata(series["metadata_dictionary"], data) == one.scanned.metadata
        assert len(data) < len(one.scanned.metadata) / 10


async def test_counters_grow_by_what_was_added(index: Index) -> None:
    first, second, third = (make_new_instance(dataset) for dataset in make_series(3))
    await add(index, first)
    await add(index, second, third)
    await add(index, third, first)
    study, series = await study_of(index, first), await series_of(index, first)
    assert (study["number_of_series"], study["number_of_instances"]) == (1, 3)
    assert series["number_of_instances"] == 3
    assert (study["version"], series["version"]) == (3, 3)
    assert study["size"] == first.size + second.size + third.size


async def test_a_study_knows_its_modalities_and_classes(index: Index) -> None:
    study = new_uid()
    classes = {"CT": "1.2.840.10008.5.1.4.1.1.2", "PT": "1.2.840.10008.5.1.4.1.1.128", "": "1.2.3"}
    new = [
        make_new_instance(StudyInstanceUID=study, Modality=modality, SOPClassUID=uid)
        for modality, uid in classes.items()
    ]
    await add(index, new[1])
    await add(index, *new)
    row = await study_of(index, new[0])
    assert row["modalities"] == ["CT", "PT"]
    assert row["sop_classes"] == sorted(classes.values())
    assert (row["number_of_series"], row["number_of_instances"]) == (3, 3)


async def test_patients_are_told_apart_by_the_issuer_too(index: Index) -> None:
    await add(
        index,
        make_new_instance(PatientID="1", IssuerOfPatientID="A"),
        make_new_instance(PatientID="1", IssuerOfPatientID="B"),
        make_new_instance(PatientID="1", IssuerOfPatientID="B"),
    )
    rows = await index.fetch(
        "SELECT issuer_of_patient_id, number_of_studies FROM patient ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [("A", 1), ("B", 2)]


async def test_what_is_there_is_present_with_all_that_shows_whether_it_is_the_same(
    index: Index,
) -> None:
    dataset = make_series(1)[0]
    first, again = make_new_instance(dataset), make_new_instance(dataset, NumberOfFrames=2)
    await add(index, first)
    (present,) = await add(index, again)
    assert isinstance(present, Present)
    assert present.ref == first.ref
    assert present.object_key == first.object_key
    assert (present.sha256, present.dataset_sha256) == (first.sha256, first.dataset_sha256)
    assert present.transfer_syntax_uid == first.scanned.transfer_syntax_uid
    assert present.metadata == first.scanned.metadata
    assert present.frames == first.scanned.frames
    assert present.bulk_values == first.scanned.bulk_values
    assert await count(index, "instance") == 1


async def test_of_equal_uids_in_one_batch_the_first_is_added(index: Index) -> None:
    dataset = make_series(1)[0]
    first, second = make_new_instance(dataset), make_new_instance(dataset)
    added, present = await add(index, first, second)
    assert added is None
    assert isinstance(present, Present)
    assert present.object_key == first.object_key
    assert (await study_of(index, first))["number_of_instances"] == 1


async def test_an_instance_present_in_another_study_leaves_no_empty_parents(index: Index) -> None:
    uid = new_uid()
    first = make_new_instance(SOPInstanceUID=uid)
    elsewhere = make_new_instance(SOPInstanceUID=uid, PatientID="other")
    await add(index, first)
    (present,) = await add(index, elsewhere)
    assert isinstance(present, Present)
    assert present.ref == first.ref
    assert await count(index, "study") == await count(index, "series") == 1
    rows = await index.fetch("SELECT number_of_studies FROM patient ORDER BY 1")
    assert [row[0] for row in rows] == [0, 1]


async def test_the_first_stored_wins_and_what_disagrees_is_kept_as_tags(index: Index) -> None:
    study, series = new_uid(), new_uid()
    shared: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    first = make_new_instance(**shared, StudyDescription="Thorax")
    other = make_new_instance(
        **shared, StudyDescription="Abdomen", PatientName="X^Y", SeriesNumber=9
    )
    await add(index, first, make_new_instance(**shared, StudyDescription="Thorax"))
    await add(index, other)
    row = await study_of(index, first)
    assert row["study_description"] == "Thorax"
    assert row["conflicts"] == f'{{"{other.ref.instance}": ["00081030", "00100010"]}}'
    conflicts = (await series_of(index, first))["conflicts"]
    assert conflicts == f'{{"{other.ref.instance}": ["00200011"]}}'


async def test_in_a_batch_the_least_uid_is_the_first_as_in_a_rebuild(index: Index) -> None:
    shared: dict[str, Any] = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}
    await add(
        index,
        make_new_instance(**shared, SOPInstanceUID="1.9", StudyDescription="greater"),
        make_new_instance(**shared, SOPInstanceUID="1.1", StudyDescription="least"),
        make_new_instance(**shared | {"SeriesInstanceUID": "1.1"}, StudyDescription="third"),
    )
    (row,) = await index.fetch("SELECT study_description, conflicts FROM study")
    assert row["study_description"] == "least"
    assert "1.9" in row["conflicts"]


async def test_a_series_is_remembered_and_forgotten_when_it_is_gone(index: Index) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(4)]
    await add(index, new[0])
    assert await add_to_known(index, 1, "tester", [new[1]]) == [None]
    (again,) = await add_to_known(index, 1, "tester", [new[1]]) or []
    assert isinstance(again, Present)
    async with index.writing() as connection:
        for table in ("instance", "series", "study"):
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608
    assert await add_to_known(index, 1, "tester", [new[2]]) is None
    assert await add(index, new[2]) == [None]
    assert (await study_of(index, new[2]))["number_of_instances"] == 1


async def test_what_disagrees_or_has_another_series_is_not_added_unlocked(index: Index) -> None:
    one = make_new_instance()
    await add(index, one)
    shared: dict[str, Any] = {
        "StudyInstanceUID": one.ref.study,
        "SeriesInstanceUID": one.ref.series,
    }
    agrees = make_new_instance(**shared)
    others = [make_new_instance(**shared, SeriesDescription="other"), make_new_instance()]
    for other in others:
        assert await add_to_known(index, 1, "tester", [agrees, other]) is None
        assert await add_to_known(index, 1, "tester", [other]) is None
    assert await add_to_known(index, 2, "tester", [agrees]) is None
    assert await add_to_known(index, 1, "tester", [agrees]) == [None]


async def test_few_series_are_remembered(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parents, "MOST_KNOWN", 2)
    new = [make_new_instance() for _ in range(3)]
    await add(index, *new)
    assert len(index.known) == 2


async def test_the_conflicts_that_are_kept_are_bounded(index: Index) -> None:
    shared: dict[str, Any] = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    new = [make_new_instance(**shared, StudyDescription=f"Number {n}") for n in range(30)]
    await add(index, *new[:10])
    await add(index, *new[10:])
    row = await study_of(index, new[0])
    assert row["conflicts"].count("00081030") == 20


async def test_a_batch_is_logged_once_for_each_study_without_patient_data(index: Index) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(2, PatientName="Secret^Name")]
    await add(index, *new)
    await add(index, new[0])
    rows = await index.fetch("SELECT tenant_id, kind, actor, payload FROM event")
    (row,) = rows
    assert (row["tenant_id"], row["kind"], row["actor"]) == (1, "accepted", "tester")
    payload = orjson.loads(row["payload"])
    assert payload["study"] == new[0].ref.study
    logged = payload["series"][new[0].ref.series]
    for one in new:
        digest, attempt = logged[one.ref.instance]
        assert digest == one.sha256.hex()
        assert one.object_key.endswith(f"/{one.ref.instance}.{attempt}")
    assert "Secret" not in row["payload"]


async def test_a_bad_instance_between_good_ones_fails_alone(
    index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(5)]
    new[2] = replace(new[2], object_key="secret \0 in it")
    results = await add(index, *new)
    assert [type(result) for result in results] == [
        type(None),
        type(None),
        InvalidDataset,
        type(None),
        type(None),
    ]
    assert await count(index, "instance") == 4
    assert (await study_of(index, new[0]))["number_of_instances"] == 4
    assert new[2].ref.instance in caplog.text
    assert "secret" not in caplog.text


async def test_what_the_log_says_quotes_no_value(
    index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    one = replace(make_new_instance(), size=2**70)
    (result,) = await add(index, one)
    assert isinstance(result, InvalidDataset)
    assert (result.reason, result.__cause__) == (0x0110, None)
    assert "DataError" in caplog.text
    assert str(2**70) not in caplog.text


@pytest.mark.parametrize(
    "keywords",
    [
        {"PatientID": "x" * 5000},
        {"StudyDescription": "\N{SNOWMAN}" * 10_000},
        {"InstanceNumber": str(2**70)},
        {"SeriesNumber": str(-(2**70))},
        {"PatientName": "A" * 20_000},
    ],
)
async def test_values_that_an_index_cannot_hold_do_not_keep_an_instance_out(
    index: Index, keywords: dict[str, str]
) -> None:
    (one,) = make_series(1)
    fragments = dict(make_new_instance(one).scanned.fragments)
    for keyword, value in keywords.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        vr = dictionary_VR(tag)
        listed: object = {"Alphabetic": value} if vr == "PN" else value
        member = orjson.dumps({"vr": vr, "Value": [listed]}, option=orjson.OPT_NON_STR_KEYS)
        fragments[tag] = f'"{tag:08X}":'.encode() + member
    made = make_new_instance(one)
    made = replace(made, scanned=replace(made.scanned, fragments=fragments))
    assert await add(index, made) == [None]


async def test_nothing_to_add_is_nothing(index: Index) -> None:
    assert await add(index) == []
    async with index.writing() as connection:
        assert await add_instances(connection, 1, "tester", []) == []
