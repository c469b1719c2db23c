"""Who asks, and what that caller may see and do. Pure values; the index turns a Scope into SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TENANT = 1


class Verb(StrEnum):
    """What can be allowed; a role is a set of these."""

    SEARCH = "search"
    VIEW = "view"
    DOWNLOAD = "download"
    STORE = "store"
    DELETE = "delete"
    CORRECT = "correct"
    EXPORT = "export"
    AUDIT = "audit"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What keys and users are given; they may do what any of their roles may."""

    VIEWER = "viewer"
    UPLOADER = "uploader"
    CURATOR = "curator"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    SERVICE = "service"


_READING = frozenset({Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD})
ROLES: Mapping[Role, frozenset[Verb]] = {
    Role.VIEWER: _READING,
    Role.UPLOADER: frozenset({Verb.STORE}),
    Role.CURATOR: _READING | {Verb.STORE, Verb.DELETE, Verb.CORRECT, Verb.EXPORT},
    Role.AUDITOR: frozenset({Verb.AUDIT, Verb.SEARCH}),
    Role.ADMINISTRATOR: frozenset(Verb),
    Role.SERVICE: _READING | {Verb.STORE},
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The Studies that a caller may see: of one tenant, all of them or those named.

    Each of `studies`, `labels` and `patients` (Patient ID, and its Issuer or "") narrows it if it
    is not None: any of the set fits, an empty set means none.
    """

    tenant_id: int = DEFAULT_TENANT
    studies: frozenset[str] | None = None
    labels: frozenset[str] | None = None
    patients: frozenset[tuple[str, str]] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is narrowed by nothing."""
        return self.studies is None and self.labels is None and self.patients is None

    def covers(self, study_instance_uid: str) -> bool:
        """Say whether a Study of the tenant lies in this scope."""
        return self.studies is None or study_instance_uid in self.studies


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` goes into events and logs, so it never is a patient's.

    `kind` is one of operator, key, user, token, ticket, service.
    """

    name: str
    scope: Scope = field(default_factory=Scope)
    verbs: frozenset[Verb] = frozenset(Verb)
    kind: str = "operator"


def principal_of(name: str, kind: str, roles: Iterable[Role], scope: Scope) -> Principal:
    """Return a caller who may do what any of its roles may."""
    verbs = frozenset[Verb]().union(*(ROLES[role] for role in roles))
    return Principal(name, scope, verbs, kind)
