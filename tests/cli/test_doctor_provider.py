"""What the doctor asks the identity provider, and what it says to mend."""

import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from app.cli.doctor_identity import provider
from app.cli.finding import Verdict
from app.setting_groups import Oidc
from app.settings import Auth, Settings
from tests.web.oidc.standin import Provider, provider_running


@pytest.fixture
def standin() -> Iterator[Provider]:
    with provider_running() as running:
        yield running


def settings(issuer: str | None, **oidc: Any) -> Settings:
    given = {"issuer": issuer, "audience": ("fileroom",), **oidc} if issuer else {}
    return Settings(data_dir=Path("nowhere"), auth=Auth(oidc=Oidc(**given)))


def test_where_no_provider_is_set_none_is_asked() -> None:
    assert provider(settings(None)).verdict is Verdict.GOOD


def test_a_provider_that_can_be_used_is_well(standin: Provider) -> None:
    found = provider(settings(standin.issuer, client_id="us"))
    assert (found.verdict, found.found) == (
        Verdict.GOOD,
        f"{standin.issuer}: 1 keys, signing by RS256, PS256",
    )


def test_one_that_does_not_answer_is_told(standin: Provider) -> None:
    standin.answers["/.well-known/openid-configuration"] = (503, b"")
    found = provider(settings(standin.issuer))
    assert found.verdict is Verdict.BAD
    assert "answers with 503" in found.found


def test_another_issuer_is_told(standin: Provider) -> None:
    standin.document["issuer"] = standin.issuer + "/"
    found = provider(settings(standin.issuer))
    assert found.verdict is Verdict.BAD
    assert "of another issuer" in found.found
    assert "FILEROOM_AUTH__OIDC__ISSUER" in found.mend


@pytest.mark.parametrize("keys", [{"keys": []}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}])
def test_keys_that_sign_nothing_are_told(standin: Provider, keys: dict[str, Any]) -> None:
    standin.key_set = keys
    found = provider(settings(standin.issuer))
    assert found.verdict is Verdict.BAD
    assert "none that signs by RS256" in found.found


def test_a_key_of_an_algorithm_that_is_not_listed_is_none(standin: Provider) -> None:
    standin.keys.clear()
    standin.keys["other"] = ECKey.generate_key("P-384")
    assert provider(settings(standin.issuer)).verdict is Verdict.BAD
    assert provider(settings(standin.issuer, algorithms=("ES384",))).verdict is Verdict.GOOD


@pytest.mark.parametrize(("hours", "word"), [(1, "ahead of"), (-1, "behind")])
def test_a_clock_that_differs_is_told(
    standin: Provider, monkeypatch: pytest.MonkeyPatch, hours: int, word: str
) -> None:
    said = formatdate(time.time() + 3600 * hours, usegmt=True)
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: said)
    found = provider(settings(standin.issuer))
    assert found.verdict is Verdict.BAD
    assert f"s {word} ours" in found.found


def test_a_provider_without_a_place_to_log_in_is_told_where_people_do(standin: Provider) -> None:
    standin.document["authorization_endpoint"] = None
    assert provider(settings(standin.issuer)).verdict is Verdict.GOOD
    assert provider(settings(standin.issuer, client_id="us")).verdict is Verdict.BAD
