"""A provider that runs on this machine, and what believes its tokens."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.rights import Principal
from app.web.auth import Credentials
from app.web.oidc.claims import Reading
from app.web.oidc.provider import Provider
from app.web.oidc.source import Tokens
from app.web.oidc.tokens import Rules
from tests.web.oidc.standin import Provider as Standin
from tests.web.oidc.standin import provider_running

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


@pytest.fixture
def standin() -> Iterator[Standin]:
    """A provider of its own for the test."""
    with provider_running() as provider:
        yield provider


@pytest.fixture
def tokens(standin: Standin) -> Tokens:
    """The source that believes it."""
    return source(standin)


def source(standin: Standin, **reading: Any) -> Tokens:
    """Return a source that believes a provider."""
    rules = Rules(standin.issuer, frozenset({"fileroom"}), ALGORITHMS)
    return Tokens(Provider(standin.issuer), rules, Reading(**reading))


async def ask(tokens: Tokens, value: str) -> Principal | None:
    """Ask as a request with this bearer token does."""
    return await tokens.principal(Credentials("bearer", value), {})
