"""Rules of matching: what a value of an attribute has to be. `matching` makes them."""

from dataclasses import dataclass
from typing import TypeAlias

from app.dicom.attributes import Attribute
from app.dicom.fuzzy_names import Part


@dataclass(frozen=True, slots=True)
class Equal:
    """One of these values, whole. With a wildcard it would be a `Like`."""

    values: tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """Text with `*` for any characters and `?` for one; no other character is special."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Name:
    """A person name: folded component groups, each with wildcards or not.

    One group may be any of the three; of several, each stands for its own and '' for anything.
    """

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """A person name that is written or sounds nearly so: `name` as it stands, or all `parts`."""

    name: Name
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """Text from `low` to `high`, both included; '' leaves that end open. No value never matches.

    `ranged` says that the request gave a range, not one date, or a time that begins many.
    """

    low: str
    high: str
    ranged: bool = False


@dataclass(frozen=True, slots=True)
class Empty:
    """No value at all."""


@dataclass(frozen=True, slots=True)
class Several:
    """Any of these rules, or `every` one of them (each by one of the attribute's values)."""

    rules: "tuple[Rule, ...]"
    every: bool = False


Rule: TypeAlias = Equal | Like | Name | Near | Between | Empty | Several


@dataclass(frozen=True, slots=True)
class Chosen:
    """The number under which the index keeps an attribute's values, and what those have to meet."""

    number: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class Match:
    """An attribute, the rule that it has to meet, and how the index answers without a column."""

    attribute: Attribute
    rule: Rule
    chosen: Chosen | None = None

    @property
    def indexed(self) -> bool:
        """Whether the index answers for it."""
        return self.attribute.column is not None or self.chosen is not None
