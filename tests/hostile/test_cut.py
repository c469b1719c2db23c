"""Files that end too early: refused, unless they end between two elements."""

import gzip

from tests.hostile.instances import Raw, cut_instances, jpeg
from tests.hostile.names import Hostile
from tests.hostile.scene import Scene
from tests.multipart import RELATED, make_multipart

CUT_SHORT, NO_DICOM, UID_MISSING = 0xC001, 0xC000, 0xA900
REASONS = {
    Hostile.CUT_IN_PREAMBLE: NO_DICOM,
    Hostile.CUT_IN_PREFIX: NO_DICOM,
    Hostile.CUT_AFTER_META: UID_MISSING,
    Hostile.CUT_BEFORE_UIDS: UID_MISSING,
}
"""Of those that are not told to be cut short."""
KEPT = {Hostile.CUT_BETWEEN_ELEMENTS, Hostile.CUT_BEFORE_DELIMITER}
CUTS = cut_instances()
COVERED = frozenset(CUTS) | {Hostile.CUT_ANYWHERE, Hostile.CUT_BODY, Hostile.CUT_GZIP}


async def test_a_file_that_is_cut_is_refused_with_a_reason(scene: Scene) -> None:
    for name in CUTS.keys() - KEPT:
        answer = await scene.post(CUTS[name])
        assert answer.status_code == 409, name
        assert scene.reasons(answer) == [REASONS.get(name, CUT_SHORT)], name


async def test_nobody_can_tell_that_anything_is_missing(scene: Scene) -> None:
    native, framed = Raw(), jpeg()
    for raw, at in ((native, native.place(8)), (framed, len(framed.data()) - 8)):
        answer = await scene.post(raw.data()[:at])
        assert answer.status_code == 200
        scene.kept[raw.path] = raw.data()[:at]


async def test_a_file_that_is_cut_anywhere_is_kept_only_between_elements(scene: Scene) -> None:
    raws = [Raw() for _ in range(len(Raw().data()))]
    parts = [raw.data()[:at] for at, raw in enumerate(raws)]
    answer = await scene.post(make_multipart(*parts), RELATED)
    assert answer.status_code == 202
    stored = {uid for uid, _ in scene.stored(answer)}
    kept = {at: raw for at, raw in enumerate(raws) if raw.instance in stored}
    scene.kept |= {raw.path: parts[at] for at, raw in kept.items()}
    between = {at for at, raw in enumerate(raws) if at in {raw.place(n) for n in range(8, 12)}}
    inner = {at for at, raw in enumerate(raws) if at in _ends(raw)}
    assert set(kept) == between | inner
    assert set(scene.reasons(answer)) == {CUT_SHORT, NO_DICOM, UID_MISSING}


def _ends(raw: Raw) -> set[int]:
    """Return where elements of the image description end."""
    shape, at, ends = raw.elements()[9], raw.place(9), set()
    while at < raw.place(10):
        ends.add(at)
        at += 8 + int.from_bytes(shape[at - raw.place(9) + 6 : at - raw.place(9) + 8], "little")
    return ends


async def test_a_body_that_is_cut_stores_nothing(scene: Scene) -> None:
    body = make_multipart(Raw().data(), Raw().data())
    for at in range(len(body) - 5, 0, -97):
        answer = await scene.post(body[:at], RELATED)
        assert answer.status_code == 400


async def test_a_body_in_gzip_that_is_cut_stores_nothing(scene: Scene) -> None:
    body = gzip.compress(make_multipart(Raw().data(), Raw().data()), mtime=0)
    for at in range(len(body) - 1, 0, -53):
        answer = await scene.post(body[:at], RELATED, content_encoding="gzip")
        assert answer.status_code == 400


async def test_what_was_staged_before_a_malformed_part_is_given_back(scene: Scene) -> None:
    body = make_multipart(Raw().data()).removesuffix(b"--b--\r\n") + b"--b\r\nno colon\r\n\r\n"
    for _ in range(3):
        assert (await scene.post(body, RELATED)).status_code == 400
