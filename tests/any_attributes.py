"""Six Studies whose Instances differ in attributes that the index has no column for."""

from dataclasses import replace
from random import Random

import orjson
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.archive.context import Archive
from app.archive.indexed_tags import index_tag
from app.archive.search import SearchResult, search
from app.dicom.any_attribute import meets_all
from app.dicom.attributes import Level
from app.dicom.chosen_attributes import read_chosen
from app.dicom.limits import Limits
from app.dicomweb.query import read_query
from app.index.instances import NewInstance
from app.rights import Principal, Scope
from tests.factories import make_dataset
from tests.index_factories import make_new_instance

ROOT = "1.2.826.0.1.3680043.8.498.9"
UID_TAGS = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}


def make_instance(study: int, series: int, number: int, random: Random) -> NewInstance:
    item = Dataset()
    item.CodeValue = random.choice(["T-1", "T-2", "T-3"])
    dataset = make_dataset(
        StudyInstanceUID=f"{ROOT}.{study}",
        SeriesInstanceUID=f"{ROOT}.{study}.{series}",
        SOPInstanceUID=f"{ROOT}.{study}.{series}.{number}",
        PatientID=f"P{study % 3}",
        StudyDate=f"2024010{study}",
        InstanceNumber=number,
        SliceThickness=random.choice(["1", "2.5", "5"]),
        ImageType=random.choice([["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY"]]),
        PatientAge=f"0{30 + study}Y",
        ProtocolName=f"Protocol {series}",
        ViewCodeSequence=Sequence([item]),
        ContrastBolusAgent=random.choice(["", "Iohexol"]),
    )
    if random.random() < 0.5:
        dataset.private_block(0x0009, "OTHER", create=True).add_new(1, "LO", "no")
    dataset.private_block(0x0009, "ACME", create=True).add_new(
        1, "LO", random.choice(["one", "two"])
    )
    return make_new_instance(dataset)


def make_instances() -> list[NewInstance]:
    """Return the Instances of six Studies of two Series of three."""
    random = Random(1)
    return [
        make_instance(study, series, number, random)
        for study in range(1, 7)
        for series in (1, 2)
        for number in (1, 2, 3)
    ]


async def ask(
    archive: Archive, level: Level, keys: str, scope: Scope | None = None, **path: str
) -> SearchResult:
    query = read_query(keys.encode(), level, **path)
    principal = Principal("test", scope or Scope())
    return await search(archive, principal, query, "https://archive.example/dicom-web")


def uids(result: SearchResult, level: Level) -> list[str]:
    return [orjson.loads(row)[UID_TAGS[level]]["Value"][0] for row in result.rows]


def expected(new: list[NewInstance], level: Level, keys: str) -> set[str]:
    """Return the UIDs of the rows above an Instance that meets all keys that have no column."""
    query = read_query(keys.encode(), level)
    found: set[str] = set()
    for one in new:
        dataset = orjson.loads(one.scanned.metadata)
        if meets_all(dataset, query.unindexed, dict(query.creators)):
            found.add((one.ref.study, one.ref.series, one.ref.instance)[level])
    return found


OPERATOR = Principal("operator")


async def choose_all(archive: Archive, *tags: str) -> None:
    """Have the index answer for attributes."""
    for tag in tags:
        await index_tag(archive, OPERATOR, read_chosen(tag), lambda _: None)


def only_indexed(archive: Archive) -> Archive:
    """Return the archive where nothing may be looked into."""
    return replace(archive, limits=replace(Limits(), looked_into=0))
