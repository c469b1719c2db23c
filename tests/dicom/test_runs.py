"""Runs of elements: a shortcut that must never change what a scan says."""

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.gears import MOST_RUNLESS
from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.runs import FEWEST, Runs, Taken
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from tests.factories import make_part10, make_series
from tests.raw_elements import (
    EXPLICIT,
    IMPLICIT,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    implicit,
    item,
    open_item,
    part10,
)

TAGS = [0x00100000 + i for i in range(0x10, 0x30)]


def elements(values: list[int], *, plain: bool = True) -> list[bytes]:
    write = (lambda tag, value: explicit(tag, "LO", value)) if plain else implicit
    return [write(tag, b"%02d" % value) for tag, value in zip(TAGS, values, strict=False)]


def recorded(parts: list[bytes], *, plain: bool = True) -> Runs:
    runs = Runs(implicit=not plain, little_endian=True)
    data = b"".join(parts)
    runs.record(data, 0, len(data), {raw: b"m" + raw for raw in parts})
    return runs


def take(runs: Runs, parts: list[bytes]) -> list[int]:
    """Return how many elements each step takes from the start on, 0 for one that is skipped."""
    data, here, steps = b"".join(parts), 0, []
    for _ in range(50):
        members: dict[int, bytes] = {}
        size, count, again = runs.take(data, here, len(data), members)
        assert set(members.values()) <= {b"m" + raw for raw in parts}
        steps.append(count)
        if not again or here >= len(data):
            break
        here += size or len(parts[0])
    return steps


@pytest.mark.parametrize("plain", [True, False])
def test_a_run_is_taken_as_a_whole(plain: bool) -> None:
    parts = elements([7] * 10, plain=plain)
    assert take(recorded(parts, plain=plain), parts) == [10, 0]


def test_no_element_past_the_bound_is_taken() -> None:
    parts = elements([7] * 10)
    data = b"".join(parts)
    assert recorded(parts).take(data, 0, len(data) - 1, {}) == (90, 9, True)
    assert recorded(parts).take(data, 0, 30, {}) == (0, 0, False)


def test_few_elements_are_no_run() -> None:
    assert take(recorded(elements([7] * (FEWEST - 1))), elements([7] * 10)) == [0]


def test_what_the_memo_does_not_know_is_no_run() -> None:
    parts = elements([7] * 10)
    runs = Runs(implicit=False, little_endian=True)
    assert runs.record(b"".join(parts), 0, 1000, dict.fromkeys(parts[1:], b"m")) == 0


def test_what_changes_is_taken_out_of_a_run() -> None:
    runs = recorded(elements([7] * 20))
    changed = elements([7] * 8 + [1] + [7] * 11)
    assert take(runs, changed) == [8, 0, 11, 0]
    assert take(runs, elements([7] * 8 + [2] + [7] * 11)) == [8, 0, 11, 0]


def test_short_pieces_beside_what_changes_are_no_runs() -> None:
    runs = recorded(elements([7] * 20))
    changed = elements([7] * 3 + [1] + [7] * 16)
    assert take(runs, changed) == [0, 0, 0, 0, 16, 0]


def test_another_series_has_runs_of_its_own() -> None:
    ours, theirs = elements([7] + [7] * 9), elements([7] + [1] * 9)
    runs = recorded(ours)
    assert take(runs, theirs) == [0]
    runs.record(b"".join(theirs), 0, 1000, {raw: b"m" + raw for raw in theirs})
    assert take(runs, theirs) == [10, 0]
    assert take(runs, ours) == [10, 0]


def test_a_run_whose_elements_are_there_in_another_order_is_left_alone() -> None:
    parts = elements([7] * 10)
    runs = recorded(parts)
    assert take(runs, [parts[0], *reversed(parts[1:])]) == [0]
    assert take(runs, parts) == [10, 0]


def test_runs_are_bounded() -> None:
    runs = Runs(implicit=False, little_endian=True)
    for head in range(5000):
        parts = [explicit(head << 16 | i, "LO", b"ab") for i in range(1, 10)]
        runs.record(b"".join(parts), 0, 1000, dict.fromkeys(parts, b"m"))
    assert len(runs) <= 2048
    for value in range(100):
        parts = elements([7] + [value] * 9)
        runs.record(b"".join(parts), 0, 1000, dict.fromkeys(parts, b"m"))
    assert len(runs) <= 2048


def test_no_run_is_longer_than_its_bound() -> None:
    parts = [explicit(0x00100000 + i, "LO", b"ab") for i in range(1, 1000)]
    assert take(recorded(parts), parts)[0] == 128


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.2"])
def test_a_series_scans_the_same_with_a_memo(transfer_syntax: str) -> None:
    memo = Memo()
    for series in (make_series(6, PatientID="A"), make_series(6, PatientID="B") * 2):
        for dataset in series:
            source = BytesSource(make_part10(dataset, transfer_syntax=transfer_syntax))
            assert scan(source, None, memo) == scan(source)


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT])
def test_sequences_of_undefined_length_are_remembered_whole(uid: str) -> None:
    plain = uid == EXPLICIT
    memo = Memo()
    for value in (b"X1", b"X2", b"X1", b"X2", b"X1"):
        ident = explicit(0x00100020, "LO", value) if plain else implicit(0x00100020, value)
        items = open_item(ident) + SEQUENCE_END
        sequence = (
            explicit(0x00081140, "SQ", items, UNDEFINED)
            if plain
            else implicit(0x00081140, items, UNDEFINED)
        )
        source = BytesSource(part10(sequence, ident, uid=uid))
        assert scan(source, None, memo) == scan(source)
    (table,) = (memo.table(key) for key in [(not plain, True, ("iso8859",))])
    assert [len(each) for each in table.open_sequences.values()] == [2]


def test_an_open_sequence_beyond_the_window_is_read_anew() -> None:
    items = open_item(explicit(0x00100020, "LO", b"X1")) + SEQUENCE_END
    sequence = explicit(0x00081140, "SQ", items, UNDEFINED)
    long = explicit(0x00080119, "UC", b"x" * 100_000)
    data = part10(long, sequence)

    class Slow:
        size = len(data)

        def read(self, offset: int, length: int) -> bytes:
            return data[offset : offset + length]

    memo = Memo()
    for _ in range(3):
        assert scan(Slow(), None, memo) == scan(BytesSource(data))


def test_a_scan_looks_for_runs_in_vain_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []
    take = Runs.take

    def counted(runs: Runs, data: bytes, here: int, bound: int, members: dict[int, bytes]) -> Taken:
        tries.append(here)
        return take(runs, data, here, bound, members)

    monkeypatch.setattr(Runs, "take", counted)
    memo = Memo()
    for series in range(8):  # as many runs that begin alike as are kept
        for _ in range(2):
            parts = [explicit(0x00100020, "LO", b"%04d" % (series * 9 + i)) for i in range(9)]
            scan(BytesSource(part10(*parts)), None, memo)
    tries.clear()
    distinct = [explicit(0x00100020, "LO", b"%04d" % i) for i in range(1000, 2000)]
    scan(BytesSource(part10(*distinct)), None, memo)
    assert len(tries) == MOST_RUNLESS


def test_a_warning_is_not_lost_with_what_is_remembered() -> None:
    junk = explicit(0x00081140, "SQ", b"junk")
    other = explicit(0x00081115, "SQ", b"more")
    memo = Memo()
    for data in (part10(other, junk), part10(other, junk), part10(junk)):
        scanned = scan(BytesSource(data), None, memo)
        assert scanned.warnings == ("bytes after the last Data Element were passed over",)


def test_a_sequence_with_bulk_data_is_not_remembered() -> None:
    twice = explicit(0x00081140, "SQ", item(explicit(0x00282000, "OB", bytes(5000)))) * 2
    memo = Memo()
    for _ in range(3):
        assert len(scan(BytesSource(part10(twice)), None, memo).bulk_values) == 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    uid=st.sampled_from([EXPLICIT, IMPLICIT]),
    capacity=st.sampled_from([20_000, 2**20]),
)
def test_any_series_of_changes_scans_the_same(seed: int, uid: str, capacity: int) -> None:
    generator = random.Random(seed)
    memo = Memo(capacity)
    series = [[generator.randrange(3) for _ in TAGS] for _ in range(3)]
    for _ in range(25):
        values = generator.choice(series)
        for _ in range(generator.randrange(3)):
            values[generator.randrange(len(values))] = generator.randrange(90)
        parts = elements(values, plain=uid == EXPLICIT)
        if generator.random() < 0.3:
            parts.pop(generator.randrange(len(parts)))
        if generator.random() < 0.2:
            generator.shuffle(parts)
        source = BytesSource(part10(*parts, uid=uid))
        assert scan(source, None, memo) == scan(source)


@pytest.mark.parametrize("plain", [True, False])
def test_new_elements_are_looked_at_once_however_many_there_are(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no run fits any more, each new element ends a stretch: it must begin the next one."""
    looked = 0
    record = Runs.record

    def counting(self: Runs, data: bytes, here: int, end: int, known: Mapping[bytes, bytes]) -> int:
        nonlocal looked
        looked += end - here
        return record(self, data, here, end, known)

    monkeypatch.setattr(Runs, "record", counting)
    tags = [0x00211000 + i for i in range(3000)]
    parts = [explicit(tag, "LO", b"ab") if plain else implicit(tag, b"ab") for tag in tags]
    data = part10(*parts, uid=EXPLICIT if plain else IMPLICIT)
    scan(BytesSource(data), Limits(), Memo())
    assert looked <= 4 * len(data)
