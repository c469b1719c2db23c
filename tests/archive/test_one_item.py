"""Keys of a Sequence are met within one Item, whoever answers: index, data, or both."""

from typing import Any

import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.archive.context import Archive
from app.dicom.attributes import Level
from app.errors import TooLarge
from app.index.instances import add_each_instance
from tests.any_attributes import ROOT, ask, choose_all, only_indexed
from tests.factories import make_dataset
from tests.index_factories import make_new_instance


def make_items(*items: dict[str, Any]) -> Sequence:
    made = []
    for item in items:
        dataset = Dataset()
        for keyword, value in item.items():
            setattr(dataset, keyword, value)
        made.append(dataset)
    return Sequence(made)


NESTED: dict[str, Any] = {
    "same": make_items(
        {"CodeValue": "a", "CodeMeaning": "x"}, {"CodeValue": "b", "CodeMeaning": "y"}
    ),
    "other": make_items(
        {"CodeValue": "a", "CodeMeaning": "y"}, {"CodeValue": "b", "CodeMeaning": "x"}
    ),
    "deep": make_items(
        {
            "CodeValue": "a",
            "ViewModifierCodeSequence": make_items(
                {"CodeValue": "m", "CodeMeaning": "n"}, {"CodeValue": "k", "CodeMeaning": "l"}
            ),
        },
        {"CodeValue": "b", "ViewModifierCodeSequence": make_items({"CodeMeaning": "q"})},
    ),
    "none": make_items(),
}
VIEW, MODIFIER = "ViewCodeSequence", "ViewCodeSequence.ViewModifierCodeSequence"
IN_ONE_ITEM = {
    f"{VIEW}.CodeValue=a&{VIEW}.CodeMeaning=x": {"same"},
    f"{VIEW}.CodeValue=a&{VIEW}.CodeMeaning=y": {"other"},
    f"{VIEW}.CodeValue=a&{VIEW}.CodeMeaning=?": {"same", "other"},
    f"{VIEW}.CodeValue=c\\a*&{VIEW}.CodeMeaning=x": {"same"},
    f"{VIEW}.CodeValue=a&{VIEW}.CodeValue=b": {"same", "other", "deep"},
    f"{VIEW}.CodeValue=a&{VIEW}.CodeMeaning=x&{VIEW}.CodeValue=b&{VIEW}.CodeMeaning=y": {"same"},
    f"{MODIFIER}.CodeValue=m&{MODIFIER}.CodeMeaning=n": {"deep"},
    f"{MODIFIER}.CodeValue=m&{MODIFIER}.CodeMeaning=l": set(),
    f"{MODIFIER}.CodeValue=k&{VIEW}.CodeValue=a&{MODIFIER}.CodeMeaning=l": {"deep"},
    f"{MODIFIER}.CodeValue=k&{VIEW}.CodeValue=b": set(),
}
LOOKED_INTO = {
    f"{VIEW}.CodeValue=a\\b&{VIEW}.CodeMeaning=x&multiplevaluematching=true": set(),
    f'{VIEW}.CodeValue=a&{VIEW}.CodeMeaning=""&emptyvaluematching=true': {"deep"},
    f'{VIEW}.CodeValue=""&{VIEW}.CodeMeaning=""&emptyvaluematching=true': {"none"},
    f'{MODIFIER}.CodeValue=""&{VIEW}.CodeValue=b&emptyvaluematching=true': {
        "same",
        "other",
        "deep",
    },
}


@pytest.fixture
async def nested(archive: Archive) -> Archive:
    new = [
        make_new_instance(
            make_dataset(
                StudyInstanceUID=f"{ROOT}.{number}",
                SeriesInstanceUID=f"{ROOT}.{number}.1",
                SOPInstanceUID=f"{ROOT}.{number}.1.1",
                StudyID=name,
                ViewCodeSequence=view,
            )
        )
        for number, (name, view) in enumerate(NESTED.items())
    ]
    assert not any(await add_each_instance(archive.index, 1, "test", new))
    return archive


async def names(archive: Archive, keys: str) -> set[str]:
    rows = (await ask(archive, Level.STUDY, keys)).rows
    return {orjson.loads(row)["00200010"]["Value"][0] for row in rows}


@pytest.mark.parametrize("chosen", [(), ("CodeValue",), ("CodeValue", "CodeMeaning")])
async def test_keys_of_a_sequence_are_met_within_one_item(
    nested: Archive, chosen: tuple[str, ...]
) -> None:
    await choose_all(nested, *(f"{of}.{one}" for of in (VIEW, MODIFIER) for one in chosen))
    archive = only_indexed(nested) if len(chosen) == 2 else nested
    for keys, wanted in IN_ONE_ITEM.items():
        assert await names(archive, keys) == wanted, keys
    for keys, wanted in LOOKED_INTO.items():
        assert await names(nested, keys) == wanted, keys
    if len(chosen) == 2:
        with pytest.raises(TooLarge, match="CodeMeaning has to be met in the same Item"):
            await names(archive, next(iter(LOOKED_INTO)))


async def test_keys_of_requests_are_met_within_one_item_though_they_have_columns(
    archive: Archive,
) -> None:
    def request(step: str, procedure: str) -> dict[str, str]:
        return {"ScheduledProcedureStepID": step, "RequestedProcedureID": procedure}

    new = [
        make_new_instance(
            make_dataset(
                StudyID=name,
                RequestAttributesSequence=make_items(request(*first), request(*second)),
            )
        )
        for name, first, second in (
            ("same", ("s1", "p1"), ("s2", "p2")),
            ("other", ("s1", "p2"), ("s2", "p1")),
            ("empty", ("s3", ""), ("s4", "p1")),
        )
    ]
    assert not any(await add_each_instance(archive.index, 1, "test", new))
    step, procedure = (
        f"RequestAttributesSequence.{one}"
        for one in ("ScheduledProcedureStepID", "RequestedProcedureID")
    )
    assert await names(archive, f"{step}=s1&{procedure}=p1") == {"same"}
    assert await names(archive, f"{step}=s1&{procedure}=p2") == {"other"}
    assert await names(archive, f"{step}=s1&{step}=s2") == {"same", "other"}
    empty = 'RequestAttributesSequence.RequestedProcedureID=""&emptyvaluematching=true'
    assert await names(archive, f"{step}=s3&{empty}") == {"empty"}
    assert await names(archive, f"{step}=s1&{empty}") == set()
    assert await names(only_indexed(archive), f"{step}=s?") == {"same", "other", "empty"}
