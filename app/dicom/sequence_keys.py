"""Keys within Sequences: which of them have to be met by one and the same Item."""

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from app.dicom.rules import Between, Equal, Like, Match, Name, Rule, Several

Group = tuple[Match, ...]


def together(matches: Sequence[Match], depth: int = 0) -> list[Group]:
    """Return the matches in groups: those of one Item, `depth` Sequences down, and each other one.

    A key that is given again begins another Item: `A.B=1&A.C=2&A.B=3` asks for an Item with the
    first two, and for one with the last.

    Source: PS3.4 §C.2.2.2.6
    """
    groups: dict[tuple[object, ...], list[Match]] = {}
    given: Counter[tuple[int, ...]] = Counter()
    for match in matches:
        path = match.attribute.path
        nested = len(path) > depth + 1
        groups.setdefault((path[: depth + 1], given[path], nested), []).append(match)
        given[path] += 1
    return [tuple(group) for group in groups.values()]


def can_be_tied(group: Sequence[Match]) -> bool:
    """Say whether the index can decide that one Item meets all: it keeps where each value lies.

    Source: PS3.4 §C.2.2.2.6
    """
    return all(match.chosen is not None and _is_of_one_value(match.rule) for match in group)


def _is_of_one_value(rule: Rule) -> bool:
    if isinstance(rule, Several):
        return not rule.every and all(map(_is_of_one_value, rule.rules))
    return isinstance(rule, Equal | Like | Name | Between)


def common_items(one: Match, other: Match) -> int:
    """Return how many Sequences, from the outermost on, two paths have in common.

    Source: PS3.18 §8.3.4.1
    """
    pairs = zip(one.attribute.path[:-1], other.attribute.path[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
