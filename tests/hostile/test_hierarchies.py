"""Instances that belong elsewhere, and other bytes under a UID that is taken."""

import asyncio

import pytest

from tests.factories import new_uid
from tests.hostile.instances import Raw
from tests.hostile.names import Hostile
from tests.hostile.scene import Scene
from tests.multipart import RELATED, make_multipart
from tests.raw_elements import explicit

DUPLICATE, OTHER_STUDY, NO_UID = 0x0111, 0xA901, 0xA900
BAD_UIDS = {
    Hostile.UID_MISSING: "",
    Hostile.UID_OF_PATHS: "../../../../etc/passwd",
    Hostile.UID_LONG: "1." + "2" * 63,
}
COVERED = frozenset(BAD_UIDS) | {
    Hostile.SERIES_ELSEWHERE,
    Hostile.INSTANCE_ELSEWHERE,
    Hostile.OTHER_STUDY,
    Hostile.OTHER_PATIENT,
    Hostile.UIDS_EQUAL,
    Hostile.META_DISAGREES,
    Hostile.DUPLICATE,
    Hostile.DUPLICATE_IN_REQUEST,
    Hostile.DUPLICATE_AT_ONCE,
}


def other(raw: Raw, note: bytes = b"other ") -> Raw:
    """Return an Instance of the same UIDs and other content."""
    more = explicit(0x00204000, "LT", note)
    return Raw(instance=raw.instance, study=raw.study, series=raw.series, more=more)


async def test_a_series_of_another_study_is_another_series(scene: Scene) -> None:
    first = Raw()
    second = Raw(series=first.series)
    assert (await scene.store(first, second)).status_code == 200
    for raw in (first, second):
        found = await scene.client.get(f"/studies/{raw.study}/series")
        assert [one["0020000E"]["Value"] for one in found.json()] == [[first.series]]
        assert found.json()[0]["00201209"]["Value"] == [1]
    wrong = f"/studies/{first.study}/series/{first.series}/instances/{second.instance}"
    assert (await scene.client.get(wrong)).status_code == 404


@pytest.mark.parametrize("same_study", [False, True])
async def test_an_instance_is_in_one_series(scene: Scene, same_study: bool) -> None:
    first = Raw()
    assert (await scene.store(first)).status_code == 200
    moved = Raw(instance=first.instance, study=first.study if same_study else new_uid())
    answer = await scene.store(moved)
    assert answer.status_code == 409
    assert scene.reasons(answer) == [DUPLICATE]
    assert (await scene.client.get(moved.path)).status_code == 404
    found = await scene.client.get(f"/series?SeriesInstanceUID={moved.series}")
    assert found.status_code == 204


async def test_an_instance_of_another_study_fails_alone(scene: Scene) -> None:
    mine, foreign = Raw(), Raw()
    body = make_multipart(foreign.data(), mine.data())
    answer = await scene.post(body, RELATED, f"/studies/{mine.study}")
    assert answer.status_code == 202
    assert scene.reasons(answer) == [OTHER_STUDY]
    scene.kept[mine.path] = mine.data()


async def test_another_patient_in_a_study_is_kept_beside_the_first(scene: Scene) -> None:
    first = Raw()
    second = Raw(study=first.study, series=first.series, patient=b"SOMEONE ")
    assert (await scene.store(first)).status_code == 200
    assert (await scene.store(second)).status_code == 200
    (study,) = (await scene.client.get(f"/studies?StudyInstanceUID={first.study}")).json()
    assert study["00100020"]["Value"] == ["FR-0001"]
    assert study["00201208"]["Value"] == [2]
    (metadata,) = (await scene.client.get(f"{second.path}/metadata")).json()
    assert metadata["00100020"]["Value"] == ["SOMEONE"]


async def test_what_is_no_uid_is_no_part_of_a_key(scene: Scene) -> None:
    for name, uid in BAD_UIDS.items():
        for raw in (Raw(study=uid), Raw(series=uid), Raw(instance=uid, meta_instance=new_uid())):
            answer = await scene.post(raw.data())
            assert answer.status_code == 409, name
            assert scene.reasons(answer) == [NO_UID], name


async def test_one_uid_at_three_levels_is_kept(scene: Scene) -> None:
    uid = new_uid()
    assert (await scene.store(Raw(instance=uid, study=uid, series=uid))).status_code == 200


async def test_the_data_set_says_which_instance_it_is(scene: Scene) -> None:
    raw = Raw(meta_instance=new_uid())
    assert (await scene.store(raw)).status_code == 200
    beside = raw.path.replace(raw.instance, raw.meta_instance or "")
    assert (await scene.client.get(beside)).status_code == 404


async def test_the_first_content_under_a_uid_stays(scene: Scene) -> None:
    raw = Raw()
    assert (await scene.store(raw)).status_code == 200
    for _ in range(2):
        answer = await scene.store(other(raw))
        assert answer.status_code == 409
        assert scene.reasons(answer) == [DUPLICATE]
        assert (await scene.store(raw)).status_code == 200


async def test_of_two_contents_in_one_request_one_stays(scene: Scene) -> None:
    raw = Raw()
    answer = await scene.post(make_multipart(raw.data(), other(raw).data(), raw.data()), RELATED)
    assert answer.status_code == 202
    assert scene.reasons(answer) == [DUPLICATE]
    scene.kept[raw.path] = raw.data()


async def test_of_many_contents_at_once_one_stays(scene: Scene) -> None:
    raw = Raw()
    all_ = [other(raw, b"%04d" % number) for number in range(24)]
    answers = await asyncio.gather(*(scene.post(one.data()) for one in all_))
    won = [one for one, answer in zip(all_, answers, strict=True) if answer.status_code == 200]
    assert len(won) == 1
    lost = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, *scene.reasons(answer)) for answer in lost} == {(409, DUPLICATE)}
    scene.kept[raw.path] = won[0].data()
