"""Four Studies that differ in every key, for searches."""

from typing import Any

from app.index.engine import Index
from app.index.instances import add_instances
from tests.factories import make_dataset
from tests.index_factories import make_new_instance

ROOT = "1.2.826.0.1.3680043.8.498"


def make_request(step: str, procedure: str) -> Any:
    item = make_dataset(Rows=None)
    item.clear()
    item.ScheduledProcedureStepID = step
    item.RequestedProcedureID = procedure
    return item


STUDIES: dict[str, dict[str, Any]] = {
    "mueller": {
        "PatientName": "Müller^Änne",
        "PatientID": "A_1",
        "AccessionNumber": "ACC1",
        "StudyDate": "20240229",
        "StudyTime": "101530.250",
        "StudyDescription": "Thorax 100% mit KM",
        "Modality": "CT",
        "StudyID": "S1",
        "ReferringPhysicianName": "Doe^Jane",
    },
    "yamada": {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "PatientID": "AB1",
        "AccessionNumber": "ACC2",
        "StudyDate": "20240301",
        "StudyTime": "1015",
        "StudyDescription": "Kopf",
        "Modality": "MR",
        "StudyID": "S2",
        "ReferringPhysicianName": "Roe^Richard",
        "TimezoneOffsetFromUTC": "+0900",
    },
    "smith": {
        "PatientName": "SMITH^JOHN^^^",
        "PatientID": "a_1  ",
        "AccessionNumber": "",
        "StudyDate": "20231231",
        "StudyTime": "235959",
        "StudyDescription": "Thorax",
        "Modality": "PT",
        "StudyID": "",
        "ReferringPhysicianName": "",
    },
    "undated": {
        "PatientName": "",
        "PatientID": "x'; DROP TABLE study; --",
        "AccessionNumber": "ACC[4]",
        "StudyDate": "",
        "StudyTime": "",
        "StudyDescription": None,
        "Modality": "SR",
        "ReferringPhysicianName": None,
        "StudyID": "S.4",
    },
}
UIDS = {name: f"{ROOT}.{number}" for number, name in enumerate(STUDIES, start=1)}
NAMES = {uid: name for name, uid in UIDS.items()}


async def fill(index: Index) -> None:
    """Store four Studies; the first has three Series, of five, one and one Instances."""
    new = [
        make_new_instance(
            **keywords,
            StudyInstanceUID=UIDS[name],
            SeriesInstanceUID=f"{UIDS[name]}.1",
            SOPInstanceUID=f"{UIDS[name]}.1.{number}",
            SeriesNumber=7,
            InstanceNumber=number,
        )
        for name, keywords in STUDIES.items()
        for number in range(1, 6 if name == "mueller" else 2)
    ]
    other = {**STUDIES["mueller"], "StudyInstanceUID": UIDS["mueller"]}
    new.append(
        make_new_instance(
            **{**other, "Modality": "SR"},
            SeriesInstanceUID=f"{UIDS['mueller']}.2",
            SOPInstanceUID=f"{UIDS['mueller']}.2.1",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
            SeriesNumber=3,
            InstanceNumber=None,
            Rows=None,
            PerformedProcedureStepStartDate="20240229",
            PerformedProcedureStepStartTime="1010",
            RequestAttributesSequence=[make_request("STEP1", "P1"), make_request("STEP2", "P1")],
        )
    )
    new.append(
        make_new_instance(
            **{**other, "Modality": "PR"},
            SeriesInstanceUID=f"{UIDS['mueller']}.3",
            SOPInstanceUID=f"{UIDS['mueller']}.3.1",
            SeriesNumber=None,
        )
    )
    async with index.writing() as connection:
        await add_instances(connection, 1, "test", new)
