"""The memo: bounded, and never wrong."""

from app.dicom.memo import OVERHEAD, Memo

EXPLICIT = (False, True, ("iso8859",))
IMPLICIT = (True, True, ("iso8859",))


def test_what_was_learnt_is_recalled() -> None:
    memo = Memo()
    table = memo.table(EXPLICIT)
    memo.learn(table, b"raw", b"member")
    memo.learn_sequence(table, b"raw", b"sequence", 3)
    assert table.young == {b"raw": b"member"}
    assert memo.recall_sequence(table, b"raw") == (b"sequence", 3)
    assert memo.recall(table, b"other") is None
    assert memo.recall_sequence(table, b"other") is None


def test_each_context_has_a_table_of_its_own() -> None:
    memo = Memo()
    assert memo.table(EXPLICIT) is memo.table(EXPLICIT)
    assert memo.table(EXPLICIT) is not memo.table(IMPLICIT)


def test_the_memory_is_bounded() -> None:
    memo = Memo(100_000)
    table = memo.table(EXPLICIT)
    for i in range(5000):
        memo.learn(table, b"%08d" % i, b"x" * 100)
        memo.learn_sequence(table, b"%08d" % i, b"x" * 100, 1)
    elements = len(table.young) + len(table.old)
    sequences = len(table.sequences) + len(table.old_sequences)
    assert (elements + sequences) * (108 + OVERHEAD) <= 100_000
    assert memo.held_bytes <= 50_000


def test_what_is_still_used_survives() -> None:
    memo = Memo(100_000)
    table = memo.table(EXPLICIT)
    memo.learn(table, b"used", b"member")
    memo.learn_sequence(table, b"used", b"sequence", 1)
    for i in range(5000):
        memo.learn(table, b"%08d" % i, b"x" * 100)
        assert table.young.get(b"used") or memo.recall(table, b"used") == b"member"
        assert memo.recall_sequence(table, b"used") == (b"sequence", 1)


def test_contexts_are_bounded() -> None:
    memo = Memo()
    for i in range(1000):
        memo.learn(memo.table((False, True, (str(i),))), b"raw", b"member")
    assert memo.tables <= 256


def test_open_sequences_are_found_by_all_their_bytes() -> None:
    memo = Memo()
    table = memo.table(EXPLICIT)
    head = b"h" * 40
    for i in range(20):
        memo.learn_open(table, head + b"%02d" % i, b"member %d" % i, i)
    assert memo.recall_open(table, b".." + head + b"19 and more", 2) == (
        head + b"19",
        b"member 19",
        19,
    )
    assert memo.recall_open(table, head + b"99", 0) is None
    assert memo.recall_open(table, b"other", 0) is None
    assert sum(len(each) for each in table.open_sequences.values()) == 8
