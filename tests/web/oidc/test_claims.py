"""What claims mean: names, roles, labels, tenants, and a patient's own Studies."""

from typing import Any

import pytest

from app.errors import Forbidden, Unauthenticated
from app.rights import ROLES, Role, Scope, Verb
from app.web.oidc.claims import Reading, texts

MAPPED = [("a@b.org", Role.CURATOR), ("b.org", Role.VIEWER)]
KEYCLOAK = {"sub": "u", "realm_access": {"roles": ["curator", "offline_access"]}}


@pytest.mark.parametrize(
    ("reading", "claims", "roles"),
    [
        ({}, {"roles": ["viewer", "auditor", "other", 5]}, {Role.VIEWER, Role.AUDITOR}),
        ({}, {"roles": "viewer"}, {Role.VIEWER}),
        ({}, {"roles": {"viewer": True}}, set()),
        ({}, {}, set()),
        ({"roles": ["realm_access.roles"]}, KEYCLOAK, {Role.CURATOR}),
        ({"roles": ["https://x.org/roles"]}, {"https://x.org/roles": ["viewer"]}, {Role.VIEWER}),
        ({"roles": ["a.b.c"]}, {"a": {"b": "text"}}, set()),
        (
            {"roles": ["email", "hd"], "role_map": MAPPED},
            {"email": "a@b.org", "hd": "b.org"},
            {Role.CURATOR, Role.VIEWER},
        ),
        ({"role_map": [("pacs", Role.VIEWER)]}, {"roles": ["administrator"]}, set()),
    ],
)  # fmt: skip
def test_roles_are_what_the_claims_say(
    reading: dict[str, Any], claims: dict[str, Any], roles: set[Role]
) -> None:
    assert set(Reading(**reading).roles_of(claims)) == roles


def test_a_caller_may_do_what_any_of_its_roles_may() -> None:
    claims = {"sub": "u", "roles": ["auditor", "uploader"]}
    principal = Reading().principal(claims, "token")
    assert principal.verbs == ROLES[Role.AUDITOR] | ROLES[Role.UPLOADER]


def test_whom_the_provider_gives_no_role_may_nothing() -> None:
    with pytest.raises(Forbidden, match="no role"):
        Reading().principal({"sub": "u", "roles": ["other"]}, "token")


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"sub": "4711", "preferred_username": "anna"}, "anna"),
        ({"sub": "4711"}, "4711"),
    ],
)
def test_the_name_is_that_of_a_claim_else_the_subject(claims: dict[str, Any], name: str) -> None:
    claims = {**claims, "roles": ["viewer"]}
    assert Reading(name="preferred_username").principal(claims, "token").name == name


@pytest.mark.parametrize(
    ("claims", "labels"),
    [
        ({"departments": ["mr", "ct"]}, frozenset({"mr", "ct"})),
        ({"departments": "mr"}, frozenset({"mr"})),
        ({}, frozenset()),
        ({"departments": ["*"]}, None),
    ],
)
def test_labels_narrow_to_those_named_and_to_none_where_none_is(
    claims: dict[str, Any], labels: frozenset[str] | None
) -> None:
    claims = {**claims, "sub": "u", "roles": ["viewer"]}
    assert Reading(labels="departments").principal(claims, "token").scope.labels == labels
    assert Reading().principal(claims, "token").scope.labels is None


def test_the_tenant_is_that_of_the_claim_and_nobody_is_let_in_without() -> None:
    reading = Reading(tenant="org", tenants={"north": 2, "south": 3})
    claims: dict[str, Any] = {"sub": "u", "roles": ["viewer"]}
    assert reading.principal({**claims, "org": "south"}, "token").scope.tenant_id == 3
    for org in (None, "west", ["north", "south"]):
        with pytest.raises(Forbidden, match="tenant"):
            reading.principal({**claims, "org": org}, "token")


@pytest.mark.parametrize(
    ("scope", "verbs"),
    [
        ("patient/*.rs", {Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD}),
        ("openid patient/ImagingStudy.rs", {Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD}),
        ("patient/ImagingStudy.r", {Verb.VIEW, Verb.DOWNLOAD}),
        ("patient/ImagingStudy.s", {Verb.SEARCH}),
        ("patient/ImagingStudy.read", {Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD}),
        ("patient/*.cruds", {Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD}),
        ("patient/*.*", {Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD}),
        ("patient/ImagingStudy.rs?modality=CT", set()),
        ("patient/*.write", set()),
        ("patient/Observation.rs", set()),
        ("patient/everything", set()),
    ],
)
def test_a_patients_app_reads_that_patients_studies_and_nothing_else(
    scope: str, verbs: set[Verb]
) -> None:
    claims = {"sub": "u", "scope": scope, "patient": "P-1", "roles": ["administrator"]}
    principal = Reading().principal(claims, "token")
    assert principal.verbs == verbs
    assert principal.scope.patients == frozenset({("P-1", "")})


def test_the_patient_is_of_the_issuer_that_is_set() -> None:
    claims = {"sub": "u", "scope": "patient/*.rs", "patient": "P-1"}
    principal = Reading(patient_issuer="HOSPITAL").principal(claims, "token")
    assert principal.scope == Scope(patients=frozenset({("P-1", "HOSPITAL")}))


@pytest.mark.parametrize("patient", [None, "", 5, ["P-1"]])
def test_a_patients_app_without_a_patient_is_refused(patient: object) -> None:
    claims = {"sub": "u", "scp": ["patient/*.rs"], "patient": patient}
    with pytest.raises(Unauthenticated, match="which patient"):
        Reading().principal(claims, "token")


def test_scopes_of_users_change_nothing() -> None:
    claims = {"sub": "u", "scope": "openid user/*.cruds", "roles": ["viewer"], "patient": "P-1"}
    principal = Reading().principal(claims, "token")
    assert (principal.verbs, principal.scope.is_whole) == (ROLES[Role.VIEWER], True)


def test_texts_of_a_claim_are_its_texts_alone() -> None:
    assert texts({"a": ["x", 1, None]}, "a") == ["x"]
    assert texts({"a": None}, "a") == []
