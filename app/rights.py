"""Who asks, and what that caller may see and do. Pure values; the index turns a Scope into SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TENANT = 1


class Verb(StrEnum):
    """What can be allowed; a role is a set of these.

    VIEW is for what is shown: metadata, frames, bulk data, pictures. DOWNLOAD is for what takes
    whole objects away: Part 10 streams and zips. OVERRIDE opens a Study beyond one's scope in an
    emergency, for a while and loudly.
    """

    SEARCH = "search"
    VIEW = "view"
    DOWNLOAD = "download"
    STORE = "store"
    DELETE = "delete"
    CORRECT = "correct"
    EXPORT = "export"
    AUDIT = "audit"
    OVERRIDE = "override"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What a caller is; `ROLES` says what each may do."""

    VIEWER = "viewer"
    UPLOADER = "uploader"
    CURATOR = "curator"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    SERVICE = "service"
    EMERGENCY = "emergency"


_READ = frozenset({Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD})
ROLES: Mapping[Role, frozenset[Verb]] = {
    Role.VIEWER: _READ,
    Role.UPLOADER: frozenset({Verb.STORE}),
    Role.CURATOR: _READ | {Verb.STORE, Verb.DELETE, Verb.CORRECT, Verb.EXPORT},
    Role.AUDITOR: frozenset({Verb.AUDIT, Verb.SEARCH}),
    Role.ADMINISTRATOR: frozenset(Verb) - {Verb.OVERRIDE},
    Role.SERVICE: _READ | {Verb.STORE},
    Role.EMERGENCY: frozenset({Verb.OVERRIDE}),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The Studies that a caller may see: of one tenant, all of them, or fewer.

    None does not narrow. What does narrows together (AND); within one, any of its values will do
    (OR), and an empty set lets nothing through. `patients` are (Patient ID, Issuer of Patient ID or
    ''), both as they stand in the Study. `also` are Studies that are seen besides, in an emergency.
    """

    tenant_id: int = DEFAULT_TENANT
    studies: frozenset[str] | None = None
    labels: frozenset[str] | None = None
    patients: frozenset[tuple[str, str]] | None = None
    also: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the tenant, what is of no Study or no more there included."""
        return self.studies is None and self.labels is None and self.patients is None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` goes into events and logs, so it never is a patient's.

    `kind` says how it is known: operator, key, user, token, ticket or service. `calling_ae` is the
    AE that a service acts for, '' if none.
    """

    name: str
    scope: Scope = field(default_factory=Scope)
    verbs: frozenset[Verb] = frozenset(Verb)
    kind: str = "operator"
    calling_ae: str = ""

    @property
    def signature(self) -> str:
        """What the log has of it: the name, and for whom it acts."""
        return f"{self.name} (AE {self.calling_ae})" if self.calling_ae else self.name

    @property
    def administers_all(self) -> bool:
        """Whether what concerns more than the Studies of a narrower scope is this caller's."""
        return Verb.ADMINISTER in self.verbs and self.scope.is_whole


def principal_of(name: str, kind: str, roles: Iterable[Role], scope: Scope) -> Principal:
    """Return who has these roles, which add up, within one scope.

    A key or a token of a service is one.
    """
    given = frozenset(roles)
    verbs = frozenset[Verb]().union(*(ROLES[role] for role in given))
    is_service = kind in {"key", "token"} and Role.SERVICE in given
    return Principal(name, scope, verbs, "service" if is_service else kind)
