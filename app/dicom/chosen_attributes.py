"""Attributes that an operator has the index keep, beyond those that it has columns for.

Each has one name, whatever way it was written: its tags with dots between them, and for private
ones who reserved their block, as a search gives it: `00090010=ACME&00091001` (PS3.18 §8.3.4.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from app.dicom.any_attribute import Creators, describe_attribute
from app.dicom.attributes import Attribute
from app.dicom.matching import (
    MADE,
    MATCHABLE,
    UNMATCHED_VRS,
    is_private_creator,
    name_path,
    parse_path,
)
from app.dicom.value_representations import is_private
from app.errors import InvalidQuery

_FIRST_BLOCK = 0x10


@dataclass(frozen=True, slots=True)
class ChosenAttribute:
    """An attribute and whose its private blocks are, both as its name has them."""

    name: str
    attribute: Attribute
    creators: Creators

    @property
    def shown(self) -> str:
        """How a person writes it."""
        return self.name if self.creators else self.attribute.keyword


def read_chosen(text: str) -> ChosenAttribute:
    """Return the attribute that a text names: by keywords or tags, with dots for Sequences.

    Raises:
        InvalidQuery: it names none, or one that has a column, or whose VR is not matched.

    Source: PS3.18 §8.3.4.1, §8.3.4.3
    """
    *given, key = text.split("&")
    path = parse_path(key)
    creators = dict(_read_creator(one) for one in given)
    if path is None:
        raise InvalidQuery(f"{key} is no keyword or tag of an attribute")
    if path in MATCHABLE:
        raise InvalidQuery(f"{name_path(path)} is in the index already")
    path, creators = _with_own_blocks(path, creators)
    attribute = describe_attribute(path, creators)
    if attribute is None or path in MADE:
        raise InvalidQuery(f"{name_path(path)} cannot be matched: no object that is stored has it")
    if attribute.vr in UNMATCHED_VRS:
        raise InvalidQuery(f"{attribute.keyword} cannot be matched: its VR is {attribute.vr}")
    return ChosenAttribute(_name(path, creators), attribute, creators)


def name_of(path: tuple[int, ...], creators: Creators) -> str:
    """Return the name of an attribute that a search gives with blocks of its own choice.

    Source: PS3.18 §8.3.4.3
    """
    return _name(*_with_own_blocks(path, creators))


def _read_creator(text: str) -> tuple[int, str]:
    key, _, creator = text.partition("=")
    path = parse_path(key)
    if path is None or not is_private_creator(path) or not creator:
        raise InvalidQuery(f"{text} does not say who reserved a private block, as 00090010=ACME")
    return path[0], unquote(creator)


def _name(path: tuple[int, ...], creators: Mapping[int, str]) -> str:
    given = [f"{tag:08X}={quote(creator, safe=' ')}" for tag, creator in creators.items()]
    return "&".join([*given, ".".join(f"{tag:08X}" for tag in path)])


def _with_own_blocks(
    path: tuple[int, ...], creators: Creators
) -> tuple[tuple[int, ...], dict[int, str]]:
    """Number the private blocks of a path anew, in the order in which it has them."""
    own: dict[int, str] = {}
    tags = []
    for tag in path:
        creator = creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        if not is_private(tag) or creator is None:
            tags.append(tag)
            continue
        group = tag & 0xFFFF0000
        block = group | _FIRST_BLOCK
        while own.setdefault(block, creator) != creator:
            block += 1
        tags.append(group | (block & 0xFF) << 8 | tag & 0xFF)
    return tuple(tags), own
