"""Tokens of a provider: what is believed, and every forgery that is not."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.errors import Unauthenticated
from app.rights import ROLES, Role
from app.web.auth import Credentials
from app.web.oidc import tokens as module
from app.web.oidc.source import Tokens
from tests.web.oidc.conftest import ask
from tests.web.oidc.standin import Provider, sign

OTHER_RSA = RSAKey.generate_key(2048)


async def test_a_good_token_says_who_asks(standin: Provider, tokens: Tokens) -> None:
    principal = await ask(tokens, standin.token())
    assert principal is not None
    assert (principal.name, principal.kind) == ("user-1", "token")
    assert principal.verbs == ROLES[Role.VIEWER]
    assert principal.scope.is_whole


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("PS256", lambda: OTHER_RSA),
        ("ES256", lambda: ECKey.generate_key("P-256")),
        ("EdDSA", lambda: OKPKey.generate_key("Ed25519")),
    ],
)
async def test_each_algorithm_of_the_list_is_taken(
    standin: Provider, tokens: Tokens, algorithm: str, make: Callable[[], Any]
) -> None:
    standin.keys["other"] = make()
    assert await ask(tokens, standin.token("other", algorithm)) is not None


@pytest.mark.parametrize(
    "given",
    [
        Credentials("bearer", "frk_a.b.c"),
        Credentials("bearer", "frt_a.b.c"),
        Credentials("bearer", "one key of hexadecimal digits"),
        Credentials("basic", "a.b.c"),
        Credentials("ticket", "a.b.c"),
        Credentials("cookie", "a.b.c"),
    ],
)
async def test_what_is_no_token_is_left_to_others_and_the_provider_not_asked(
    standin: Provider, tokens: Tokens, given: Credentials
) -> None:
    assert await tokens.principal(given, {}) is None
    assert standin.asked == []


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(standin: Provider, header: dict[str, Any], key: Any = OTHER_RSA, **claims: Any) -> str:
    return sign(key, header, standin.claims(**claims))


def unsigned(standin: Provider, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'kid': 'first'})}.{part(standin.claims())}."


def key_confusion(standin: Provider) -> str:
    """The public key as the secret of an HMAC."""
    key = standin.keys["first"]
    assert isinstance(key, RSAKey)
    signed = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(standin.claims())}"
    mac = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{part(mac)}"


def tampered(standin: Provider) -> str:
    header, _, signature = standin.token().split(".")
    return f"{header}.{part(standin.claims(roles=['administrator']))}.{signature}"


def twice(standin: Provider, name: str) -> str:
    """Claims in which a name stands twice: readers differ in which one counts."""
    claims = json.dumps(standin.claims())
    doubled = claims[:-1] + f', "{name}": {json.dumps(standin.claims()[name])}}}'
    return sign(standin.keys["first"], {"alg": "RS256", "kid": "first"}, doubled)


def twice_in_header(standin: Provider) -> str:
    header = b'{"alg":"RS256","kid":"first","alg":"RS256"}'
    return ".".join([part(header), *standin.token().split(".")[1:]])


FORGED: dict[str, Callable[[Provider], str]] = {
    "alg none": lambda it: unsigned(it, "none"),
    "alg None": lambda it: unsigned(it, "None"),
    "no signature": lambda it: unsigned(it, "RS256"),
    "no alg": lambda it: f"{part({'kid': 'first'})}.{part(it.claims())}.AAAA",
    "alg is a list": lambda it: f"{part({'alg': ['RS256']})}.{part(it.claims())}.AAAA",
    "key confusion": key_confusion,
    "an algorithm that is not listed": lambda it: it.token(alg="RS512"),
    "another key under the same id": lambda it: forged(it, {"alg": "RS256", "kid": "first"}),
    "another key without an id": lambda it: forged(it, {"alg": "RS256"}),
    "an unknown key": lambda it: forged(it, {"alg": "RS256", "kid": "unknown"}),
    "an id that is a number": lambda it: forged(it, {"alg": "RS256", "kid": 1}),
    "a key that it brings": lambda it: forged(
        it, {"alg": "RS256", "jwk": OTHER_RSA.as_dict(private=False)}
    ),
    "a key that it points to": lambda it: forged(
        it, {"alg": "RS256", "kid": "first", "jku": "https://evil.example/jwks"}
    ),
    "claims changed": tampered,
    "another algorithm of the key": lambda it: ".".join(
        [part({"alg": "PS256", "kid": "first"}), *it.token().split(".")[1:]]
    ),
    "encrypted": lambda it: f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d",
    "encrypted, with our algorithm": lambda it: f"{part({'alg': 'RS256'})}.a.b.c.d",
    "a header that must be understood": lambda it: sign(
        it.keys["first"], {"alg": "RS256", "kid": "first", "crit": ["exp"], "exp": 1}, it.claims()
    ),
    "of another sort": lambda it: sign(
        it.keys["first"], {"alg": "RS256", "kid": "first", "typ": "logout+jwt"}, it.claims()
    ),
    "another issuer": lambda it: it.token(iss="https://evil.example"),
    "an issuer that is nearly right": lambda it: it.token(iss=it.issuer + "/"),
    "no issuer": lambda it: it.token(iss=None),
    "another audience": lambda it: it.token(aud="other"),
    "other audiences": lambda it: it.token(aud=["other", "fileroom2", 1]),
    "no audience": lambda it: it.token(aud=None),
    "expired": lambda it: it.token(exp=int(time.time()) - 61),
    "without an end": lambda it: it.token(exp=None),
    "an end that is text": lambda it: it.token(exp="9999999999"),
    "an end that is true": lambda it: it.token(exp=True),
    "an end beyond all numbers": lambda it: sign(
        it.keys["first"],
        {"alg": "RS256", "kid": "first"},
        json.dumps(it.claims(exp=0)).replace('"exp": 0', '"exp": 1e999'),
    ),
    "an end that is no number": lambda it: sign(
        it.keys["first"],
        {"alg": "RS256", "kid": "first"},
        json.dumps(it.claims(exp=0)).replace('"exp": 0', '"exp": NaN'),
    ),
    "not yet in force": lambda it: it.token(nbf=int(time.time()) + 100),
    "issued in the future": lambda it: it.token(iat=int(time.time()) + 100),
    "nobody's": lambda it: it.token(sub=None),
    "somebody's without a name": lambda it: it.token(sub=""),
    "a name of lines": lambda it: it.token(sub="a\nb"),
    "a name without an end": lambda it: it.token(sub="a" * 201),
    "issuer twice": lambda it: twice(it, "iss"),
    "roles twice": lambda it: twice(it, "roles"),
    "algorithm twice": twice_in_header,
    "claims that are a list": lambda it: sign(
        it.keys["first"], {"alg": "RS256", "kid": "first"}, "[]"
    ),
    "claims that are no JSON": lambda it: sign(
        it.keys["first"], {"alg": "RS256", "kid": "first"}, "iss"
    ),
    "a header that is no JSON": lambda it: f"{part(b'alg')}.{part(it.claims())}.AAAA",
    "a header that is no base64": lambda it: f"%%%.{part(it.claims())}.AAAA",
    "a header within headers": lambda it: f"{part(b'[' * 9000)}.{part(it.claims())}.AAAA",
    "letters of elsewhere": lambda it: it.token() + "\xe9",
    "huge": lambda it: it.token(more="x" * module.MOST_BYTES),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_what_is_forged_wrong_or_expired_is_refused(
    standin: Provider, tokens: Tokens, forge: Callable[[Provider], str]
) -> None:
    value = forge(standin)
    with pytest.raises(Unauthenticated) as caught:
        await ask(tokens, value)
    assert value not in str(caught.value)
    assert "user-1" not in str(caught.value)
    assert {one.removeprefix("/") for one in standin.asked} <= {
        ".well-known/openid-configuration",
        "jwks",
    }


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": -30},
        {"nbf": 30},
        {"iat": 30},
    ],
)
async def test_clocks_may_differ_by_a_minute(
    standin: Provider, tokens: Tokens, claims: dict[str, Any]
) -> None:
    now = int(time.time())
    times: dict[str, Any] = {name: now + seconds for name, seconds in claims.items()}
    assert await ask(tokens, standin.token(**times)) is not None


async def test_a_token_may_be_for_others_as_well(standin: Provider, tokens: Tokens) -> None:
    assert await ask(tokens, standin.token(aud=["other", "fileroom"])) is not None


@pytest.mark.parametrize(
    ("typ", "claims", "taken"),
    [
        ("JWT", {}, True),
        (None, {}, True),
        ("JWT", {"nonce": "n"}, False),
        ("JWT", {"at_hash": "h"}, False),
        ("JWT", {"typ": "ID"}, False),
        ("JWT", {"typ": "Refresh"}, False),
        ("JWT", {"typ": "Bearer", "nonce": "n"}, True),  # Keycloak before 25
        ("at+jwt", {"nonce": "n"}, True),
        ("application/AT+JWT", {}, True),
    ],
)
async def test_an_id_token_is_no_access_token(
    standin: Provider, tokens: Tokens, typ: str | None, claims: dict[str, Any], taken: bool
) -> None:
    header = {"alg": "RS256", "kid": "first", **({"typ": typ} if typ else {})}
    value = sign(standin.keys["first"], header, standin.claims(**claims))
    if taken:
        assert await ask(tokens, value) is not None
    else:
        with pytest.raises(Unauthenticated, match="no access token"):
            await ask(tokens, value)


async def test_a_verified_token_is_remembered_but_never_beyond_its_end(
    standin: Provider, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = standin.token()
    first = await ask(tokens, value)
    with monkeypatch.context() as patched:
        patched.setattr("app.web.oidc.source.verified", None)  # it would have to be called
        assert await ask(tokens, value) is first
    short = standin.token(exp=int(time.time()) - 59)
    assert await ask(tokens, short) is not None
    monkeypatch.setattr("app.web.oidc.source.time.time", lambda: time.time_ns() / 1e9 + 2)
    with pytest.raises(Unauthenticated, match="expired"):
        await ask(tokens, short)
