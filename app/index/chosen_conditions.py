"""Rules for chosen attributes as SQL conditions on `attribute_value`."""

from collections.abc import Iterable, Sequence

from app.dicom.kept_values import NUMBER
from app.dicom.rules import Chosen, Empty, Like, Match, Rule, Several
from app.dicom.sequence_keys import can_be_tied, common_items
from app.index.conditions import ALIASES, Arguments, text_condition


def chosen_conditions(group: Sequence[Match], arguments: Arguments) -> Iterable[str]:
    """Return what the rows of one group of keys have to meet: all in one Item, if it can be told.

    Where it cannot, whoever looks into the data decides, and this narrows what that is.
    """
    kept = [
        (match, f"{ALIASES[match.attribute.level]}.id", match.chosen)
        for match in group
        if match.chosen is not None
    ]
    if len(kept) > 1 and can_be_tied([match for match, _, _ in kept]):
        yield _in_one_item(kept, arguments)
    else:
        for _, owner, chosen in kept:
            yield _condition(owner, chosen, arguments)


def _condition(owner: str, chosen: Chosen, arguments: Arguments) -> str:
    rule = chosen.rule
    if isinstance(rule, Several) and rule.every:
        each = (Chosen(chosen.number, one) for one in rule.rules)
        return " AND ".join(_condition(owner, one, arguments) for one in each)
    number = arguments.add(chosen.number)
    values = f"attribute_value v WHERE v.owner_key = {owner} AND v.attribute_id = {number}"
    if isinstance(rule, Empty):
        return f"NOT EXISTS (SELECT FROM {values})"
    return f"EXISTS (SELECT FROM {values} AND {_met('v.value', rule, arguments)})"


def _in_one_item(kept: Sequence[tuple[Match, str, Chosen]], arguments: Arguments) -> str:
    """Tie the values of all keys: each lies in the Items that it has in common with another."""
    tables, met = ["attribute_value v0"], [f"v0.owner_key = {kept[0][1]}"]
    for place, (match, _, chosen) in enumerate(kept):
        value = f"v{place}"
        if place:
            near = max(range(place), key=lambda other: common_items(kept[other][0], match))
            items = f"items[1:{common_items(kept[near][0], match)}]"
            joined = f"{value}.owner_key = v0.owner_key AND {value}.{items} = v{near}.{items}"
            tables.append(f"attribute_value {value} ON {joined}")
        met.append(f"{value}.attribute_id = {arguments.add(chosen.number)}")
        met.append(_met(f"{value}.value", chosen.rule, arguments))
    return f"EXISTS (SELECT FROM {' JOIN '.join(tables)} WHERE {' AND '.join(met)})"


def _met(column: str, rule: Rule, arguments: Arguments) -> str:
    if isinstance(rule, Several):
        return f"({' OR '.join(_met(column, one, arguments) for one in rule.rules)})"
    met = text_condition(column, rule, arguments)
    if isinstance(rule, Like):  # the second text of a number is for equality alone
        return f"({met} AND NOT starts_with({column}, {arguments.add(NUMBER)}))"
    return met
