"""A Scope as it is kept in a row, beside its tenant."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.rights import Scope


def write_scope(scope: Scope) -> str:
    """Return a Scope as JSON, without its tenant; what does not narrow it is not in it."""
    narrowed = {"studies": scope.studies, "labels": scope.labels, "patients": scope.patients}
    kept = {name: sorted(values) for name, values in narrowed.items() if values is not None}
    return orjson.dumps(kept).decode()


def read_scope(tenant_id: int, text: str) -> Scope:
    """Return the Scope of a row."""
    kept: Mapping[str, Any] = orjson.loads(text)
    patients = kept.get("patients")
    return Scope(
        tenant_id,
        studies=_set(kept.get("studies")),
        labels=_set(kept.get("labels")),
        patients=None if patients is None else frozenset((one[0], one[1]) for one in patients),
    )


def _set(values: list[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)
