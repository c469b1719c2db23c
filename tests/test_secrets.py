"""Values that are secrets show in no representation, and may stand in files."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app.archive.audit_outlets import AuditOutlets
from app.archive.context import Place
from app.objects.bucket import Bucket
from app.objects.s3_uploads import Credentials as S3Credentials
from app.settings import Settings, known_names
from app.web.auth import Credentials
from app.web.oidc.login import Attempt, Client

APP = Path(__file__).parent.parent / "app"
SECRET = "geheim-geheim-geheim"
NAMED = re.compile(r"secret|password|passphrase|token|verifier|nonce|database_url")
NO_SECRETS = {
    ("app.web.oidc.provider", "Metadata", "token"),  # an address
    ("app.web.oidc.tokens", "Rules", "token"),
}


def settings_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_of(kind, f"{path}{name}__")
        else:
            yield f"{path}{name}", kind


def test_every_setting_that_is_a_secret_is_hidden_and_may_stand_in_a_file() -> None:
    names, found = set(known_names()), []
    for name, kind in settings_of(Settings):
        if NAMED.search(name) or "SecretStr" in str(kind):
            assert "SecretStr" in str(kind), name
            assert f"FILEROOM_{name.upper()}_FILE" in names, name
            found.append(name)
    assert len(found) >= 5


@cache
def secret_fields() -> frozenset[tuple[str, str, str]]:
    """Return module, class and field of all fields of dataclasses that are named as secrets are."""
    return frozenset(_secret_fields())


def _secret_fields() -> Iterator[tuple[str, str, str]]:
    for path in APP.rglob("*.py"):
        if not NAMED.search(path.read_text()):
            continue
        module = ".".join(("app", *path.relative_to(APP).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(
                "dataclass" in ast.unparse(it) for it in node.decorator_list
            ):
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        text = ast.unparse(line.annotation)
                        if NAMED.search(line.target.id) and re.search(r"\b(str|bytes)\b", text):
                            yield module, node.name, line.target.id


def test_no_dataclass_shows_a_field_that_is_named_as_a_secret() -> None:
    found = sorted(secret_fields() - NO_SECRETS)
    assert len(found) > 5
    shown = [
        (module, name, field)
        for module, name, field in found
        if getattr(importlib.import_module(module), name).__dataclass_fields__[field].repr
    ]
    assert shown == []


@pytest.mark.parametrize(
    "value",
    [
        Credentials("bearer", SECRET),
        S3Credentials("us", SECRET, SECRET),
        Bucket("s3://bucket", secret_key=SECRET),
        Client("us", SECRET, ()),
        AuditOutlets(source="here", fhir_token=SECRET),
        Settings().with_database(f"postgresql://us:{SECRET}@host/name"),
        Settings().with_database(f"postgresql://us:{SECRET}@host/name").place(),
        Settings().with_database(f"postgresql://us:{SECRET}@host/name").duties(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_carries_a_secret_does_not_show_it(value: object) -> None:
    assert SECRET not in repr(value) + str(value)


def test_a_place_and_a_login_are_among_those_that_are_looked_at() -> None:
    named = {(name, field) for _, name, field in secret_fields()}
    assert (Place.__name__, "database_url") in named
    assert (Attempt.__name__, "verifier") in named
