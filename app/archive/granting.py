"""What keys and users are given: names, roles, labels; and who may give it."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from app.archive.labels import check_label
from app.errors import Forbidden, InvalidRequest
from app.rights import Principal, Role, Verb

NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
MOST_LABELS = 64
_NAME = re.compile(NAME, re.ASCII)
_OURS = frozenset({"operator", "key", "anonymous"})
"""Names by which the log calls others."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Checked: roles and, unless all Studies are meant, the labels whose Studies are."""

    roles: tuple[Role, ...]
    labels: tuple[str, ...] | None


def check_administers(principal: Principal) -> None:
    """See that somebody may say who else is let in; nobody gives others more than they have.

    Raises:
        Forbidden: `principal` may not administer, or may not see all Studies of the tenant.
    """
    if Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Who is let in is for administrators")
    if not principal.scope.is_whole:
        raise Forbidden("Who is let in is for administrators who may see all studies")


def check_name(name: str) -> str:
    """Return a name of a key or a user if it is one.

    Raises:
        InvalidRequest: it is none, or one by which the log calls others.
    """
    if not _NAME.fullmatch(name) or name.lower() in _OURS:
        raise InvalidRequest(
            "A name is up to 64 letters, digits, '.', '_', '@' and '-', begins with a letter or "
            f"digit, and is none of {', '.join(sorted(_OURS))}"
        )
    return name


def read_grant(roles: Collection[str], labels: Collection[str] | None) -> Grant:
    """Return what is to be given; no labels (None) are all Studies.

    Raises:
        InvalidRequest: there is no role, one is not known, or one is no label.
    """
    return Grant(read_roles(roles), None if labels is None else read_labels(labels))


def read_roles(roles: Collection[str]) -> tuple[Role, ...]:
    """Return roles that are to be given.

    Raises:
        InvalidRequest: there is none, or one is not known.
    """
    known = {str(role) for role in Role}
    if unknown := sorted(set(roles) - known):
        raise InvalidRequest(f"{unknown[0]} is no role; roles are {', '.join(Role)}")
    if not roles:
        raise InvalidRequest(f"A role is missing; roles are {', '.join(Role)}")
    return tuple(role for role in Role if role in roles)


def read_labels(labels: Collection[str]) -> tuple[str, ...]:
    """Return labels that are to be given.

    Raises:
        InvalidRequest: there is none, there are too many, or one is no label.
    """
    if not 0 < len(set(labels)) <= MOST_LABELS:
        raise InvalidRequest(f"From 1 to {MOST_LABELS} labels were expected, or none at all")
    return tuple(sorted({check_label(label) for label in labels}))
