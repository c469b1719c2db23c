"""Scopes in rows: what is read is what was written."""

import pytest

from app.index.kept_scopes import read_scope, write_scope
from app.rights import Scope


@pytest.mark.parametrize(
    "scope",
    [
        Scope(),
        Scope(2),
        Scope(studies=frozenset()),
        Scope(3, frozenset({"1.2", "1.3"}), frozenset({"a"}), frozenset({("1", ""), ("2", "x")})),
        Scope(labels=frozenset(), patients=frozenset()),
    ],
)
def test_a_scope_comes_back_as_it_was_and_never_wider(scope: Scope) -> None:
    assert read_scope(scope.tenant_id, write_scope(scope)) == scope
