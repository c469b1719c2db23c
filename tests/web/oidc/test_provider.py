"""The provider's keys: found, rotated, remembered while it is dead, and never asked too often."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from app.errors import Unauthenticated, Unavailable
from app.web.oidc import fetching
from app.web.oidc import provider as module
from app.web.oidc.provider import Provider as Ours
from app.web.oidc.provider import read_keys
from app.web.oidc.source import Tokens
from tests.web.oidc.conftest import ask, source
from tests.web.oidc.standin import Provider

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/jwks"


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what is known of the provider."""
    return Clock(monkeypatch)


def token(standin: Provider, kid: str = "first") -> str:
    """Return a token that nobody has seen before."""
    token.number += 1  # type: ignore[attr-defined]
    return standin.token(kid, jti=str(token.number))  # type: ignore[attr-defined]


token.number = 0  # type: ignore[attr-defined]


async def test_the_provider_is_asked_once_for_many_tokens(
    standin: Provider, tokens: Tokens
) -> None:
    for _ in range(3):
        assert await ask(tokens, token(standin)) is not None
    assert standin.asked == [DISCOVERY, KEYS]


async def test_a_new_key_is_found_at_once_and_one_given_up_is_forgotten(
    standin: Provider, tokens: Tokens, clock: Clock
) -> None:
    old = token(standin)
    assert await ask(tokens, token(standin)) is not None
    standin.keys = {"second": RSAKey.generate_key(2048)}
    assert await ask(tokens, token(standin, "second")) is not None
    assert len(standin.asked) == 4
    clock.now += module.UNKNOWN_SECONDS
    with pytest.raises(Unauthenticated):
        await ask(tokens, old)


async def test_unknown_keys_have_the_provider_asked_every_half_minute_at_most(
    standin: Provider, tokens: Tokens, clock: Clock
) -> None:
    assert await ask(tokens, token(standin)) is not None
    standin.keys["unknown"] = RSAKey.generate_key(2048)
    bad = [standin.token("unknown", jti=str(number)) for number in range(5)]
    del standin.keys["unknown"]
    for value in bad:
        with pytest.raises(Unauthenticated):
            await ask(tokens, value)
    assert standin.asked == [DISCOVERY, KEYS] * 2
    clock.now += module.UNKNOWN_SECONDS
    with pytest.raises(Unauthenticated):
        await ask(tokens, bad[0])
    assert standin.asked == [DISCOVERY, KEYS] * 3


async def test_keys_are_kept_for_a_day_while_the_provider_is_dead(
    standin: Provider, tokens: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ask(tokens, token(standin)) is not None
    standin.answers[DISCOVERY] = (503, b"")
    clock.now += module.KEPT_SECONDS - 1
    assert await ask(tokens, token(standin)) is not None
    assert "what it said last is kept" in caplog.text
    clock.now += 10
    with pytest.raises(Unavailable, match="does not answer"):
        await ask(tokens, token(standin))
    del standin.answers[DISCOVERY]
    clock.now += module.AGAIN_SECONDS
    assert await ask(tokens, token(standin)) is not None


async def test_a_key_that_is_given_up_is_not_taken_for_more_than_ten_minutes(
    standin: Provider, tokens: Tokens, clock: Clock
) -> None:
    value = token(standin)
    assert await ask(tokens, token(standin)) is not None
    standin.keys = {"second": RSAKey.generate_key(2048)}
    clock.now += module.FRESH_SECONDS
    with pytest.raises(Unauthenticated):
        await ask(tokens, value)


async def test_a_provider_that_is_dead_from_the_start_is_unavailable_and_asked_now_and_then(
    standin: Provider, tokens: Tokens, clock: Clock
) -> None:
    standin.answers[DISCOVERY] = (500, b"oops")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ask(tokens, token(standin))
    assert standin.asked == [DISCOVERY]
    clock.now += module.AGAIN_SECONDS
    with pytest.raises(Unavailable):
        await ask(tokens, token(standin))
    assert standin.asked == [DISCOVERY] * 2


async def test_a_provider_where_nobody_listens_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Ours("http://127.0.0.1:9").metadata()


def _other_issuer(it: Provider) -> None:
    it.document["issuer"] = "https://evil.example"


def _keys_in_the_clear(it: Provider) -> None:
    it.document["jwks_uri"] = "http://keys.example/jwks"


def _keys_from_files(it: Provider) -> None:
    it.document["jwks_uri"] = "file:///etc/passwd"


def _much(it: Provider) -> None:
    it.answers[KEYS] = (200, b" " * (fetching.MOST_BYTES + 1))


def _list(it: Provider) -> None:
    it.answers[KEYS] = (200, b"[]")


def _page(it: Provider) -> None:
    it.answers[KEYS] = (200, b"<html>")


def _elsewhere(it: Provider) -> None:
    it.answers[DISCOVERY] = (302, b"")


def _refusal(it: Provider) -> None:
    it.answers[KEYS] = (401, b'{"error": "go away"}')


@pytest.mark.parametrize(
    "wrong",
    [
        *(_other_issuer, _keys_in_the_clear, _keys_from_files, _much, _list, _page),
        *(_elsewhere, _refusal),
    ],
)
async def test_what_a_provider_should_not_answer_is_not_believed(
    standin: Provider, wrong: Callable[[Provider], None]
) -> None:
    wrong(standin)
    with pytest.raises(Unavailable):
        await Ours(standin.issuer).metadata()


async def test_a_token_without_a_key_id_is_of_the_one_key_that_fits(standin: Provider) -> None:
    assert await ask(source(standin), standin.token(None)) is not None
    standin.keys["other kind"] = ECKey.generate_key("P-256")
    assert await ask(source(standin), standin.token(None)) is not None
    standin.keys["second"] = RSAKey.generate_key(2048)
    with pytest.raises(Unauthenticated):
        await ask(source(standin), standin.token(None))


RSA = RSAKey.generate_key(2048).as_dict(private=True)


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        (RSA, True),
        ({**RSA, "use": "enc"}, False),
        ({**RSA, "key_ops": ["encrypt"]}, False),
        ({**RSA, "n": "AQAB"}, False),
        ({**RSA, "n": 5}, False),
        (OctKey.generate_key(256).as_dict(), False),
        ({"kty": "unknown"}, False),
        ({}, False),
        ("text", False),
        ({**RSA, "n": RSA["n"][:171]}, False),  # 1024 bits
    ],
)
def test_keys_that_sign_nothing_are_left_out(entry: Any, read: bool) -> None:
    keys = read_keys({"keys": [entry]})
    assert len(keys) == read
    assert all("d" not in key.key.as_dict() for key in keys)


def test_a_key_signs_by_the_algorithms_of_its_kind_alone() -> None:
    made = {
        "rsa": RSA,
        "one": {**RSA, "alg": "PS256"},
        "ec": ECKey.generate_key("P-256").as_dict(private=False),
        "ed": {**OKPKey.generate_key("Ed25519").as_dict(private=False), "alg": "Ed25519"},
        "x": OKPKey.generate_key("X25519").as_dict(private=False),
    }
    keys = read_keys({"keys": [{**entry, "kid": kid} for kid, entry in made.items()]})
    algorithms = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256", "none")
    signing = {key.kid: [one for one in algorithms if key.signs(one)] for key in keys}
    assert signing == {
        "rsa": ["RS256", "PS256"],
        "one": ["PS256"],
        "ec": ["ES256"],
        "ed": ["EdDSA"],
        "x": [],
    }


async def test_what_it_says_of_itself_is_read_with_care(standin: Provider) -> None:
    standin.document = {
        "end_session_endpoint": "http://elsewhere.example/logout",
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "authorization_response_iss_parameter_supported": True,
    }
    found = await Ours(standin.issuer).metadata()
    assert found == module.Metadata(
        f"{standin.issuer}/authorize", f"{standin.issuer}/token", "", False, True
    )


def test_a_set_of_keys_that_is_none_has_none() -> None:
    assert read_keys({}) == ()
    assert read_keys(json.loads('{"keys": {}}')) == ()


@pytest.mark.parametrize("url", [None, "", "https://", "http://[", "http://10.0.0.1/", "ftp://h/"])
def test_addresses_that_are_not_safe_are_told(url: object) -> None:
    assert not fetching.is_safe(url)
