"""Segments as bytes: what is read is what was written, and whatever is changed is found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.archive.merkle import Tree
from app.archive.seal_keys import SealKey
from app.archive.segment import Chain, Head, Segment, entry_line, read_segment
from app.index.events import Event, Position
from app.index.seal_keys import REKEYED

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FIRST, SECOND, STRANGE = (
    SealKey(number, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    for number in (1, 2, 3)
)


def make_segments(count: int, key: SealKey = FIRST, *, rekeyed: bool = False) -> list[Segment]:
    """Return a chain of segments of three events; the second one may change the key."""
    made: list[Segment] = []
    for number in range(1, count + 1):
        events = [event(10 * number + at) for at in range(3)]
        if rekeyed and number == 2:
            payload = {"old": FIRST.public.hex(), "new": SECOND.public.hex(), "number": 2}
            events[-1] = replace(events[-1], kind=REKEYED, payload=payload)
        sealing = SECOND if rekeyed and number > 2 else key
        lines = tuple(map(entry_line, events))
        made.append(sealed(sealing, lines, made[-1].head if made else None))
    return made


def event(number: int) -> Event:
    at = NOON + timedelta(seconds=number)
    payload = {"study": "1.2.3", "series": {"1.2.4": {f"1.{number}": ["ab" * 32, "X.dcm"]}}}
    return Event(Position(700 + number, number), at, "accepted", "Müller's CT", payload)


def sealed(key: SealKey, lines: tuple[bytes, ...], before: Head | None) -> Segment:
    draft = Segment(
        Head(
            tenant_id=1,
            number=before.number + 1 if before else 1,
            before=before.hash if before else b"",
            first=Position(),
            last=Position(),
            entries=len(lines),
            root=Tree(lines).root,
            sealed_at=NOON,
            key=key.id,
        ),
        b"",
        lines,
    )
    head = replace(draft.head, first=draft.positions[0], last=draft.positions[-1])
    return Segment(head, key.sign(head.as_bytes()), lines)


def faults(segments: list[Segment], *keys: SealKey) -> list[list[str]]:
    chain = Chain([key.public for key in keys or (FIRST,)], 1)
    return [chain.faults(segment) for segment in segments]


def test_what_was_written_is_read() -> None:
    for segment in make_segments(3):
        data = segment.as_bytes()
        assert read_segment(data) == segment
        assert data.count(b"\n") == len(segment.lines) + 4
        assert b"M\xc3\xbcller's CT" in data


def test_a_sound_chain_has_no_faults() -> None:
    assert faults(make_segments(5)) == [[]] * 5


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: b"{}",
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b'"head"', b'"Head"'),
        lambda data: data.replace(b'"number":1,', b'"number":"1",'),
        lambda data: data.replace(b'"number":1,', b'"number": 1,'),
        lambda data: data.replace(b'"signature":"', b'"signature":"xy'),
        lambda data: data.replace(b'"position"', b'"place"'),
        lambda data: data.replace(b'Z"', b'+00:00"', 1),
        lambda data: data.replace(b"fileroom segment 1", b"fileroom segment 2"),
    ],
)
def test_what_is_not_exactly_a_segment_is_none(change: Callable[[bytes], bytes]) -> None:
    (segment,) = make_segments(1)
    changed = change(segment.as_bytes())
    assert changed != segment.as_bytes()
    assert read_segment(changed) is None


def with_line(segment: Segment, at: int, line: bytes) -> Segment:
    lines = list(segment.lines)
    lines[at] = line
    return replace(segment, lines=tuple(lines))


def test_a_tampered_entry_is_found() -> None:
    one, two, three = make_segments(3)
    changed = with_line(two, 1, two.lines[1].replace(b"ab" * 32, b"cd" * 32))
    found = faults([one, changed, three])
    assert found == [[], ["its entries are not those that were sealed"], []]


def test_a_tampered_head_is_found_in_it_and_behind_it() -> None:
    one, two, three = make_segments(3)
    changed = replace(two, head=replace(two.head, sealed_at=NOON + timedelta(days=1)))
    found = faults([one, changed, three])
    assert found[1] == ["its signature is not that of its key"]
    assert found[2] == ["it does not go on from the segment before it"]


def test_entries_that_were_sealed_anew_with_another_key_are_found() -> None:
    one, two, _ = make_segments(3)
    lines = (two.lines[0].replace(b"ab" * 32, b"cd" * 32), *two.lines[1:])
    forged = sealed(STRANGE, lines, one.head)
    assert faults([one, forged]) == [
        [],
        [
            f"its key {STRANGE.id} is not one that is trusted",
            "it is signed with a key that the log did not change to",
        ],
    ]
    pretending = replace(forged.head, key=FIRST.id)
    signed = replace(forged, head=pretending, signature=STRANGE.sign(pretending.as_bytes()))
    assert faults([one, signed]) == [[], ["its signature is not that of its key"]]


def test_a_trusted_key_out_of_its_turn_is_found() -> None:
    one, two = make_segments(2)
    late = sealed(SECOND, two.lines, one.head)
    found = faults([one, late], FIRST, SECOND)
    assert found == [[], ["it is signed with a key that the log did not change to"]]


def test_a_missing_segment_and_two_that_changed_places_are_found() -> None:
    one, two, three, four = make_segments(4)
    assert faults([one, three, four]) == [
        [],
        ["segment 2 was expected here, and it is 3"],
        [],
    ]
    swapped = faults([one, three, two, four])
    assert [bool(found) for found in swapped] == [False, True, True, True]
    assert faults([two])[0] == ["segment 1 was expected here, and it is 2"]


def test_entries_out_of_order_are_found_though_they_are_signed() -> None:
    (one,) = make_segments(1)
    turned = sealed(FIRST, (one.lines[2], one.lines[1], one.lines[0]), None)
    assert faults([turned]) == [["its entries are not in order"]]
    again = sealed(FIRST, one.lines, one.head)
    assert faults([one, again]) == [[], ["it begins before the segment before it ends"]]


def test_a_segment_of_another_tenant_is_found() -> None:
    (one,) = make_segments(1)
    head = replace(one.head, tenant_id=2)
    other = Segment(head, FIRST.sign(head.as_bytes()), one.lines)
    assert faults([other]) == [["it is of another tenant"]]


def test_who_trusts_the_first_key_trusts_the_one_that_it_names() -> None:
    segments = make_segments(4, rekeyed=True)
    assert [segment.head.key for segment in segments] == [FIRST.id] * 2 + [SECOND.id] * 2
    assert faults(segments) == [[]] * 4
    unchanged = sealed(FIRST, segments[2].lines, segments[1].head)
    assert faults([*segments[:2], unchanged])[2] == [
        "it is signed with a key that the log did not change to"
    ]
