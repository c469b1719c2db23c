"""What the claims of a token mean here: a name, a tenant, roles, and which Studies.

A token of a patient's app (SMART App Launch: a scope such as `patient/ImagingStudy.rs`, and the
claim `patient`) reads the Studies of that Patient and does nothing else, whatever roles it bears.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import Forbidden, Unauthenticated
from app.rights import DEFAULT_TENANT, Principal, Role, Scope, Verb, principal_of

EVERY_LABEL = "*"
"""A label in a claim that stands for all Studies."""
LONGEST_NAME = 200
_PATIENT_SCOPE = re.compile(r"patient/(\*|ImagingStudy)\.(\*|read|write|[cruds]+)")
"""One that is narrowed further (`?modality=CT`) allows nothing: we could not hold to it."""
_GRANTED: Mapping[str, frozenset[Verb]] = {
    "r": frozenset({Verb.VIEW, Verb.DOWNLOAD}),
    "s": frozenset({Verb.SEARCH}),
}
_OLD_FORMS = {"read": "rs", "*": "rs", "write": ""}


@dataclass(frozen=True, slots=True)
class Reading:
    """Which claims say what; a name with dots leads into objects, unless a claim is called so.

    With a `role_map` its values alone are roles, else those that are called like ours. `labels` of
    None: Studies are not narrowed by labels. `patient_issuer` is the Issuer of the Patient IDs
    that the claim `patient` has. `tenants` are the tenants by the values of `tenant`.
    """

    name: str = "sub"
    roles: Sequence[str] = ("roles",)
    role_map: Sequence[tuple[str, Role]] = ()
    labels: str | None = None
    patient_issuer: str = ""
    tenant: str | None = None
    tenants: Mapping[str, int] = field(default_factory=dict)

    def principal(self, claims: Mapping[str, Any], kind: str) -> Principal:
        """Return who the claims of a verified token are about.

        Raises:
            Unauthenticated: they name nobody.
            Forbidden: they give no right in this archive.
        """
        name = self._name(claims)
        tenant = self._tenant(claims)
        granted = list(_patient_scopes(claims))
        if granted:
            verbs = frozenset[Verb]().union(*granted)
            patient = frozenset({(_patient(claims), self.patient_issuer)})
            return Principal(name, Scope(tenant, patients=patient), verbs, kind)
        roles = set(self.roles_of(claims))
        if not roles:
            raise Forbidden("The identity provider gives you no role in this archive")
        return principal_of(name, kind, roles, Scope(tenant, labels=self._labels(claims)))

    def roles_of(self, claims: Mapping[str, Any]) -> Iterator[Role]:
        """Yield the roles that claims give."""
        given = {value for name in self.roles for value in texts(claims, name)}
        if self.role_map:
            yield from (role for value, role in self.role_map if value in given)
        else:
            yield from (role for role in Role if role in given)

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims.get(self.name, claims.get("sub"))
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise Unauthenticated("The token does not say whose it is")
        if not name.isprintable():
            raise Unauthenticated("The token names nobody that could be written down")
        return name

    def _tenant(self, claims: Mapping[str, Any]) -> int:
        if self.tenant is None:
            return DEFAULT_TENANT
        found = {self.tenants[it] for it in texts(claims, self.tenant) if it in self.tenants}
        if len(found) != 1:
            raise Forbidden("The identity provider names no tenant of this archive for you")
        return found.pop()

    def _labels(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        if self.labels is None:
            return None
        given = frozenset(texts(claims, self.labels))
        return None if EVERY_LABEL in given else given


def texts(claims: Mapping[str, Any], name: str) -> Sequence[str]:
    """Return the texts of a claim: of a list its texts, of a text itself, else none."""
    value: Any = claims
    if name in claims:
        value = claims[name]
    else:
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def _patient_scopes(claims: Mapping[str, Any]) -> Iterator[frozenset[Verb]]:
    """Yield what each scope of a patient's app allows; an empty set if nothing here."""
    given = [*texts(claims, "scope"), *texts(claims, "scp")]
    for word in _words(given):
        if not word.startswith("patient/"):
            continue
        match = _PATIENT_SCOPE.fullmatch(word)
        letters = _OLD_FORMS.get(match[2], match[2]) if match else ""
        yield frozenset[Verb]().union(*(_GRANTED.get(letter, ()) for letter in letters))


def _words(given: Iterable[str]) -> Iterator[str]:
    for text in given:
        yield from text.split()


def _patient(claims: Mapping[str, Any]) -> str:
    patient = claims.get("patient")
    if not isinstance(patient, str) or not patient:
        raise Unauthenticated("The token is of a patient's app, and does not say which patient's")
    return patient
