"""Who asks, and what that caller may see and do. Pure values; the index turns a Scope into SQL."""

from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TENANT = 1


class Verb(StrEnum):
    """What can be allowed; a role is a set of these."""

    SEARCH = "search"
    VIEW = "view"
    STORE = "store"
    DELETE = "delete"
    ADMINISTER = "administer"


@dataclass(frozen=True, slots=True)
class Scope:
    """The Studies that a caller may see: of one tenant, all of them or those named.

    `studies` of None means every Study of the tenant; an empty set means none.
    """

    tenant_id: int = DEFAULT_TENANT
    studies: frozenset[str] | None = None

    def covers(self, study_instance_uid: str) -> bool:
        """Say whether a Study of the tenant lies in this scope."""
        return self.studies is None or study_instance_uid in self.studies


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` goes into events and logs, so it never is a patient's."""

    name: str
    scope: Scope = field(default_factory=Scope)
    verbs: frozenset[Verb] = frozenset(Verb)
    ae_title: str = ""
    """The calling AE that a bridge acts for; '' where none is named."""
