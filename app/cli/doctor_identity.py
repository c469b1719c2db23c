"""Checks of `fileroom doctor` for who is let in: the key, API keys, and the identity provider."""

import asyncio

from app.cli.finding import Finding, Verdict
from app.cli.joining import joined_index, own_postgres
from app.cli.refusal import Refusal
from app.errors import ArchiveError, Unavailable
from app.index.account import EmbeddedError
from app.index.api_keys import LivingKey, living_keys_at
from app.index.migrations import pending
from app.setting_groups import Oidc
from app.settings import Settings
from app.web.oidc.checking import Seen, look_at

SOON_DAYS = 14
SLOWEST = 5.0
"""How far clocks are apart that nobody can tell from a slow answer, in seconds."""
_MAKE_ONE = "`fileroom keys create NAME --admin` makes one, and prints it once."


def key(settings: Settings) -> Finding:
    """Say whether others may read what everything is opened by: the key, that of TLS, too."""
    auth, http = settings.auth, settings.http
    secret = [path for path in (auth.key_file, http.tls_key) if path is not None]
    for path in secret:
        if path.stat().st_mode & 0o077:
            said = f"other users may read {path}"
            return Finding("key", Verdict.BAD, said, f"`chmod 600 {path}`")
    if secret:
        names = " and ".join(map(str, secret))
        return Finding("key", Verdict.GOOD, f"{names}: readable for this user alone")
    if auth.has_identity_source:
        return Finding("key", Verdict.GOOD, "none in a file")
    return Finding("key", Verdict.GOOD, "none: the operator on this machine alone is served")


def keys(settings: Settings) -> Finding:
    """Say whether an API key opens everything, and which expire soon."""
    if not settings.auth.keys:
        return Finding("keys", Verdict.GOOD, "API keys are not switched on")
    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("keys", Verdict.NOTE, "none yet", _MAKE_ONE)
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            living = [] if pending(joined.url) else living_keys_at(joined.url, SOON_DAYS)
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("keys", Verdict.NOTE, f"were not looked for: {error}")
    return _judged(settings, living)


def provider(settings: Settings) -> Finding:
    """Say whether the provider is there, is the one that is set, and signs as tokens have to be."""
    oidc = settings.auth.oidc
    if oidc.issuer is None:
        return Finding("provider", Verdict.GOOD, "no identity provider is set")
    try:
        seen = asyncio.run(look_at(oidc.issuer, oidc.algorithms))
    except Unavailable as error:
        return Finding(
            "provider",
            Verdict.BAD,
            f"{oidc.issuer}: {error}",
            "Compare FILEROOM_AUTH__OIDC__ISSUER, the slash at its end included, with `issuer` in "
            "its /.well-known/openid-configuration; see that this machine reaches it.",
        )
    return _of_provider(oidc, seen)


def _of_provider(oidc: Oidc, seen: Seen) -> Finding:
    said = f"{oidc.issuer}: {seen.keys} keys"
    if not seen.signing:
        said = f"{said}, and none that signs by {', '.join(oidc.algorithms)}"
        mend = "List what it signs by in FILEROOM_AUTH__OIDC__ALGORITHMS, or have it use one."
        return Finding("provider", Verdict.BAD, said, mend)
    if seen.ahead is not None and abs(seen.ahead) > max(oidc.clock_skew, SLOWEST):
        how = "ahead of" if seen.ahead > 0 else "behind"
        said = f"{said}; its clock is {abs(seen.ahead):,.0f} s {how} ours"
        return Finding("provider", Verdict.BAD, said, "Set both clocks, and keep them with NTP.")
    if oidc.client_id is not None and not (seen.metadata.authorization and seen.metadata.token):
        said = f"{said}; it names no place to log in at, so nobody can in a browser"
        return Finding("provider", Verdict.BAD, said, "Unset FILEROOM_AUTH__OIDC__CLIENT_ID.")
    return Finding("provider", Verdict.GOOD, f"{said}, signing by {', '.join(seen.signing)}")


def _judged(settings: Settings, living: list[LivingKey]) -> Finding:
    others = settings.auth.key_file is not None or settings.auth.basic
    if not others and not any(one.opens_all for one in living):
        said = f"{len(living)} count, and none is an administrator's: nobody can administer by HTTP"
        return Finding("keys", Verdict.BAD, said, _MAKE_ONE)
    soon = ", ".join(one.name for one in living if one.expires_soon)
    if soon:
        said = f"{len(living)} count; within {SOON_DAYS} days expire: {soon}"
        mend = "Make new ones under other names, give them out, then `fileroom keys revoke` these."
        return Finding("keys", Verdict.NOTE, said, mend)
    return Finding("keys", Verdict.GOOD, f"{len(living)} count")
