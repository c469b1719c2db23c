"""What `fileroom serve` says when it is ready."""

import pytest

from app.cli.serving import _open_to
from app.setting_groups import Auth


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({}, "this machine alone"),
        ({"keys": True}, "holders of API keys"),
        ({"login": True}, "users with a password"),
        ({"keys": True, "basic": True}, "holders of API keys, users with a password"),
        (
            {"oidc": {"issuer": "https://login.example.org", "audience": "fileroom"}},
            "those whom the identity provider knows",
        ),
    ],
)
def test_it_is_said_to_whom_the_archive_is_open(auth: dict[str, object], said: str) -> None:
    known = Auth.model_validate(auth)
    assert _open_to(known) == said
    assert known.has_identity_source == bool(auth)
