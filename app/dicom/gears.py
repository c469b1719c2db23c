"""The fast gear of the walk: plain elements by the memo, in runs or one by one.

Plain is what needs nothing but its own bytes: no new Sequence, no Bulk Data, no delimiter, no
Specific Character Set. Each function goes on to the first element that is not, or to the end of
the window, and returns its position. This is where the time of a scan goes; hence the long loops.
"""

from app.dicom.headers import VR_NAMES, Header
from app.dicom.level import Level
from app.dicom.members import MEMO_ELEMENT_BYTES, SPECIFIC_CHARACTER_SET, find_member, learn
from app.dicom.runs import FEWEST
from app.dicom.walk import Walk

MOST_RUNLESS = 200
"""How often a scan looks for a run in vain; each time may cost as much as a hundred elements."""


def plain_explicit(  # noqa: C901, PLR0915 - the hottest loop of all, in one piece
    walk: Walk, level: Level, position: int, stop: int, limit: int
) -> int:
    """Take elements with a VR of short length, as far as the window goes.

    Source: PS3.5 §7.1.2
    """
    window, table, members = walk.window, level.table, level.members
    data, base = window.data, window.base
    here = first = begin = position - base
    last, bound = min(stop - base, len(data) - 7), min(limit - base, len(data))
    if not 0 <= here < last:
        return position
    unpack, names = level.encoding.explicit_header.unpack_from, VR_NAMES
    known = table.young.get
    may_run, count, since = _may_run(walk, level), 0, 0
    while here < last:
        if may_run:
            size, taken, may_run = table.runs.take(data, here, last, members)
            begin = here = here + size
            since = count = count + taken
            if size:
                continue
            walk.runless += not may_run
        group, element, vr, length = unpack(data, here)
        after = here + 8 + length
        if vr not in names or after > bound:
            after = _known_sequence(walk, level, data, here, bound) if vr == b"SQ" else 0
            if not after:
                break
            _keep_run(walk, level, (begin, here), count - since)
            begin, here, since, may_run = after, after, count, _may_run(walk, level)
            continue
        raw = data[here:after]
        member = known(raw)
        if member is None:
            header = Header(group << 16 | element, names[vr], length, 8)
            if header.tag == SPECIFIC_CHARACTER_SET:
                break
            _keep_run(walk, level, (begin, here), count - since)
            begin, since, may_run = after, count + 1, _may_run(walk, level)
            member = learn(walk, level, header, raw, raw)
            known = table.young.get
        if member:
            members[group << 16 | element] = member
        here = after
        count += 1
    _keep_run(walk, level, (begin, here), count - since)
    walk.add(count, here - first)
    return base + here


def _may_run(walk: Walk, level: Level) -> bool:
    """Say whether to look for a run: in items they are short, and where none fit it is wasted."""
    return not level.depth and walk.runless < MOST_RUNLESS


def _keep_run(walk: Walk, level: Level, extent: tuple[int, int], count: int) -> None:
    """Remember a stretch of the window that is long enough for a run."""
    if count >= FEWEST and not level.depth:
        walk.memo.learn_run(level.table, walk.window.data, *extent)


def _known_sequence(walk: Walk, level: Level, data: bytes, here: int, bound: int) -> int:
    """Take a whole Sequence that the memo knows; return the position after it, 0 for none."""
    if level.depth or here + 12 > bound:
        return 0
    after: int = here + 12 + level.encoding.long_length.unpack_from(data, here + 8)[0]
    if after > bound:
        return 0
    known = level.table.sequences.get(data[here:after])
    if known is None:
        return 0
    group, element, _, _ = level.encoding.explicit_header.unpack_from(data, here)
    level.members[group << 16 | element] = known[0]
    walk.add(1 + known[1], 0)
    return after


def plain_implicit(  # noqa: C901, PLR0915 - as hot as its sister
    walk: Walk, level: Level, position: int, stop: int, limit: int
) -> int:
    """Take short elements that are neither Sequences nor Bulk Data, as far as the window goes.

    Source: PS3.5 §7.1.3
    """
    window, table, members = walk.window, level.table, level.members
    data, base = window.data, window.base
    here = first = begin = position - base
    last, bound = min(stop - base, len(data) - 7), min(limit - base, len(data))
    if here < 0 or here >= last:
        return position
    unpack = level.encoding.implicit_header.unpack_from
    known = table.young.get
    may_run, count, since = _may_run(walk, level), 0, 0
    while here < last:
        if may_run:
            size, taken, may_run = table.runs.take(data, here, last, members)
            begin = here = here + size
            since = count = count + taken
            if size:
                continue
            walk.runless += not may_run
        group, element, length = unpack(data, here)
        after = here + 8 + length
        if length > MEMO_ELEMENT_BYTES or after > bound:
            break
        raw = data[here:after]
        member = known(raw)
        if member is None:
            _keep_run(walk, level, (begin, here), count - since)
            member = find_member(walk, level, group << 16 | element, raw)
            if member is None:
                since = count
                break
            begin, since, may_run = after, count + 1, _may_run(walk, level)
            known = table.young.get
        if member:
            members[group << 16 | element] = member
        here = after
        count += 1
    _keep_run(walk, level, (begin, here), count - since)
    walk.add(count, here - first)
    return base + here
