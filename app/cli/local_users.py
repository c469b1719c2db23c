"""`fileroom users`: local users, who have a name and a password."""

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from app.archive import local_users
from app.archive.context import Archive
from app.archive.tenants import operator_of
from app.cli.api_keys import may, sees
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.index.local_users import LocalUser
from app.setting_groups import read_secret
from app.settings import Settings

_NOTE = "fileroom users"


def run_add(
    settings: Settings,
    name: str,
    roles: Sequence[str],
    labels: Sequence[str] | None,
    password_file: Path | None,
    tenant: str | None = None,
) -> None:
    """Add a user.

    Raises:
        InvalidRequest, Conflict: name, password, roles or labels are none, or the name is taken.
        Refusal: the password was not given twice alike, or the archive cannot be opened.
        SettingsError: the file of the password cannot be read.
    """
    password = _password(password_file)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        made = await local_users.add_user(archive, operator, name, password, roles, labels)
        sys.stdout.write(f"{name} may {may(made.roles)}; sees {sees(made.labels)}\n")
        if not settings.auth.basic:
            sys.stdout.write(
                "By itself it opens nothing: set FILEROOM_AUTH__BASIC=true and start the server "
                "again. Then every request needs a credential, from this machine, too.\n"
            )

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings, tenant: str | None = None) -> None:
    """Print all users, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        lines = [describe(user) for user in await local_users.list_users(archive, operator)]
        sys.stdout.write("\n".join(lines or ["there are no users"]) + "\n")

    with_archive(settings, _NOTE, work)


def run_change(
    settings: Settings,
    name: str,
    roles: Sequence[str] | None,
    labels: Sequence[str] | None,
    tenant: str | None = None,
    *,
    all_studies: bool = False,
) -> None:
    """Give a user other roles or labels, or all studies.

    Raises:
        InvalidRequest: roles or labels are none.
        NotFound: there is no such user.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        user = await local_users.change_user(
            archive, operator, name, roles=roles, labels=labels, all_studies=all_studies
        )
        sys.stdout.write(f"{name} may {may(user.roles)}; sees {sees(user.labels)}\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, name: str, tenant: str | None = None) -> None:
    """Forget a user.

    Raises:
        NotFound: there is no such user.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        await local_users.remove_user(archive, operator, name)
        sys.stdout.write(f"{name} is no user any more\n")

    with_archive(settings, _NOTE, work)


def run_disable(
    settings: Settings, name: str, *, disabled: bool, tenant: str | None = None
) -> None:
    """Let a user in no more, or again.

    Raises:
        NotFound: there is no such user.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        await local_users.disable_user(archive, operator, name, disabled=disabled)
        sys.stdout.write(f"{name} is let in {'no more' if disabled else 'again'}\n")

    with_archive(settings, _NOTE, work)


def run_passwd(
    settings: Settings, name: str, password_file: Path | None, tenant: str | None = None
) -> None:
    """Give a user another password.

    Raises:
        InvalidRequest: it is too short, or very long.
        NotFound: there is no such user.
        Refusal: it was not given twice alike, or there is no archive.
        SettingsError: its file cannot be read.
    """
    check_there(settings)
    password = _password(password_file)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        await local_users.set_password(archive, operator, name, password)
        sys.stdout.write(f"{name} has another password\n")

    with_archive(settings, _NOTE, work)


def describe(user: LocalUser) -> str:
    """Return a user as a line; never the password."""
    state = "; disabled" if user.disabled else ""
    return f"{user.name}: {', '.join(user.roles)}; {sees(user.labels)}{state}"


def _password(file: Path | None) -> str:
    if file is not None:
        return read_secret("--password-file", file)
    try:
        first, again = getpass.getpass("Password: "), getpass.getpass("Again: ")
    except EOFError:
        raise Refusal("Nobody is there to type a password; give --password-file.") from None
    if again != first:
        raise Refusal("The two passwords are not alike; nothing was changed.")
    return first
