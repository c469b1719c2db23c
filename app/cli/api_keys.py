"""`fileroom keys`: API keys, made, listed and revoked.

A new key alone goes to standard output, so that a script can take it; all else is said beside.
"""

import sys
from collections.abc import Iterable, Sequence

from app.archive import api_keys
from app.archive.api_keys import WantedKey
from app.archive.context import Archive
from app.archive.tenants import operator_of
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.index.api_keys import ApiKey
from app.rights import ROLES, Role, Verb
from app.settings import Settings, is_loopback

_NOTE = "fileroom keys"


def run_create(
    settings: Settings,
    name: str,
    roles: Sequence[str],
    labels: Sequence[str] | None,
    days: int | None,
    tenant: str | None = None,
) -> None:
    """Make a key, and print it.

    Raises:
        InvalidRequest, Conflict: name, roles or labels are none, or the name is taken.
        Refusal: the archive cannot be opened.
    """

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        made = await api_keys.make_key(archive, operator, WantedKey(name, roles, labels, days))
        key = made.key
        sys.stderr.write(
            f"The key {name}, which is not shown again:\n\n"
            f"  may     {may(key.roles)}\n"
            f"  sees    {sees(key.labels)}\n"
            f"  until   {_until(key)}\n"
            f"  sent as Authorization: Bearer <key>\n\n"
            f"{_what_is_missing(settings)}\n\n"
        )
        sys.stderr.flush()
        sys.stdout.write(f"{made.text}\n")

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings, tenant: str | None = None) -> None:
    """Print all keys, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        lines = [describe(key) for key in await api_keys.list_keys(archive, operator)]
        sys.stdout.write("\n".join(lines or ["there are no keys"]) + "\n")

    with_archive(settings, _NOTE, work)


def run_revoke(settings: Settings, name: str, tenant: str | None = None) -> None:
    """Let a key count no more.

    Raises:
        NotFound: there is none of this name.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        await api_keys.revoke_key(archive, operator, name)
        sys.stdout.write(f"The key {name} counts no more\n")

    with_archive(settings, _NOTE, work)


def describe(key: ApiKey) -> str:
    """Return a key as a line; never what callers send."""
    used = f"last used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "not used yet"
    until = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else _until(key)
    rights = f"{', '.join(key.roles)}; {sees(key.labels)}"
    return f"{key.name} ({key.id}): {rights}; {until}; {used}"


def may(roles: Iterable[Role]) -> str:
    """Return what roles may do, and the roles."""
    verbs = frozenset[Verb]().union(*(ROLES[role] for role in roles))
    return f"{', '.join(verb for verb in Verb if verb in verbs)} ({', '.join(roles)})"


def sees(labels: Sequence[str] | None) -> str:
    """Return which studies are meant."""
    return "all studies" if labels is None else f"studies that bear {' or '.join(labels)}"


def _until(key: ApiKey) -> str:
    return f"expires {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never expires"


def _what_is_missing(settings: Settings) -> str:
    """Say what has to be set so that the key opens something, and what does not yet."""
    words = []
    if not settings.auth.keys:
        words.append(
            "By itself it opens nothing: set FILEROOM_AUTH__KEYS=true and start the server again. "
            "Then every request needs a credential, from this machine, too."
        )
    if is_loopback(settings.http.host):
        words.append(
            "Other machines reach the archive only if FILEROOM_HTTP__HOST is set as well, such as "
            "0.0.0.0; give it a certificate (--tls-cert, --tls-key) or a proxy that has one."
        )
    return "\n".join(words) or "API keys are switched on here."
