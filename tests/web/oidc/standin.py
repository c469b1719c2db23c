"""A provider of OpenID Connect for tests: real HTTP, real signatures, on this machine.

It is the other side, not a mock of ours: it can change its keys, die, and answer what is wrong.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = RSAKey | ECKey | OKPKey
_RSA = RSAKey.generate_key(2048)
"""Made once: it takes long."""


class _AnyAlgorithm(JWSRegistry):
    """Signs by whatever it is told, as a forger does."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: Any) -> None:
        pass


_REGISTRY = _AnyAlgorithm(strict_check_header=False)


def sign(key: Key, header: Mapping[str, Any], claims: Mapping[str, Any] | str) -> str:
    """Return a token; claims that are a text are taken as they stand."""
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    return jws.serialize_compact(dict(header), payload, key, registry=_REGISTRY)


class Provider:
    """What the provider has, says and was asked."""

    def __init__(self) -> None:
        self.issuer = ""
        self.keys: dict[str, Key] = {"first": _RSA}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.authorizations: list[str] = []
        self.document: dict[str, Any] = {}
        self.key_set: Any = None
        self.answers: dict[str, tuple[int, bytes]] = {}
        """Instead of what it would answer."""
        self.tokens: dict[str, dict[str, Any]] = {}
        """What it gives for a code."""

    def token(self, kid: str | None = "first", alg: str = "RS256", **claims: Any) -> str:
        """Return a token that is signed by one of its keys; a claim of None is left out."""
        header = {"alg": alg, "typ": "at+jwt", **({"kid": kid} if kid is not None else {})}
        key = self.keys[kid or "first"]
        return sign(key, header, self.claims(**claims))

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return claims of a good access token, with others instead."""
        now = int(time.time())
        good = {
            "iss": self.issuer,
            "aud": "fileroom",
            "sub": "user-1",
            "iat": now,
            "exp": now + 300,
            "roles": ["viewer"],
        }
        return {name: value for name, value in {**good, **claims}.items() if value is not None}

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body for a GET."""
        if path in self.answers:
            return self.answers[path]
        if path.endswith("/.well-known/openid-configuration"):
            document = {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                **self.document,
            }
            return 200, json.dumps(document).encode()
        if path.endswith("/jwks"):
            keys = [
                {**key.as_dict(private=False), "kid": kid, "use": "sig"}
                for kid, key in self.keys.items()
            ]
            return 200, json.dumps(self.key_set or {"keys": keys}).encode()
        return 404, b"{}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        """Return status and body for a code."""
        self.forms.append(form)
        self.authorizations.append(authorization)
        if "/token" in self.answers:
            return self.answers["/token"]
        given = self.tokens.pop(form.get("code", ""), None)
        if given is None:
            return 400, b'{"error": "invalid_grant"}'
        return 200, json.dumps(given).encode()


@contextmanager
def provider_running() -> Iterator[Provider]:
    """Run a provider for the block."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked.append(self.path)
            self._send(*provider.answer(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._send(*provider.redeem(form, self.headers.get("Authorization", "")))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
