"""The commands of who is let in: `keys` and `users`. Light, as `main` is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, Tenant, flags

Name = Annotated[str, typer.Argument(help="A name; the log and the audit call the caller so.")]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        help="viewer, uploader, curator, auditor, administrator, service or emergency; "
        "may be repeated.",
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="Only studies that bear it; may be repeated. Without, all."),
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="A file with the password; else it is asked for.")
]
MOST_DAYS = 36_500


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


keys = typer.Typer(
    no_args_is_help=True,
    help="API keys, for scripts, viewers and bridges: `Authorization: Bearer frk_…`.",
    epilog="Keys count where FILEROOM_AUTH__KEYS is true; then every request needs a credential.",
)


@keys.command(name="create")
def create_key(  # noqa: PLR0913, PLR0917
    name: Name,
    admin: Annotated[bool, typer.Option("--admin", help="The role administrator.")] = False,
    role: Roles = None,
    label: Labels = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=MOST_DAYS, help="Days until it expires [365].")
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="It does not expire.")] = False,
    tenant: Tenant = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, once. Without a role it is a viewer's.

    This alone opens nothing: FILEROOM_AUTH__KEYS=true switches keys on. The server may run.

    Examples:

        fileroom keys create me --admin

        fileroom keys create ct-1 --role uploader --days 90

        KEY=$(fileroom keys create trial-42 --role viewer --label trial:42)
    """
    if admin and role:
        raise typer.BadParameter("give --admin or --role, not both")
    if never and days is not None:
        raise typer.BadParameter("give --days or --never, not both")
    from app.cli.api_keys import run_create  # noqa: PLC0415

    roles = ["administrator"] if admin else role or ["viewer"]
    run_create(
        _settings(data_dir), name, roles, label, None if never else days or 365, tenant=tenant
    )


@keys.command(name="list")
def list_keys(tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Print all keys: what each may do, until when, and when it was used last. Never the key.

    Example:

        fileroom keys list
    """
    from app.cli.api_keys import run_list  # noqa: PLC0415

    run_list(_settings(data_dir), tenant=tenant)


@keys.command(name="revoke")
def revoke_key(name: Name, tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Let a key count no more, in every process, when this has ended.

    Example:

        fileroom keys revoke ct-1
    """
    from app.cli.api_keys import run_revoke  # noqa: PLC0415

    run_revoke(_settings(data_dir), name, tenant=tenant)


users = typer.Typer(
    no_args_is_help=True,
    help="Local users, for a small site and old viewers: a name and a password.",
    epilog="They are let in by HTTP Basic where FILEROOM_AUTH__BASIC is true, over HTTPS.",
)


@users.command(name="add")
def add_user(
    name: Name,
    role: Roles = None,
    label: Labels = None,
    password_file: PasswordFile = None,
    tenant: Tenant = None,
    data_dir: DataDir = None,
) -> None:
    """Let somebody in. The password is asked for twice.

    Examples:

        fileroom users add meier --role viewer

        fileroom users add meier --role viewer --label trial:42 --password-file meier.txt
    """
    if not role:
        raise typer.BadParameter("give a --role, such as viewer")
    from app.cli.local_users import run_add  # noqa: PLC0415

    run_add(_settings(data_dir), name, role, label, password_file, tenant=tenant)


@users.command(name="list")
def list_users(tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Print all users and what each may do.

    Example:

        fileroom users list
    """
    from app.cli.local_users import run_list  # noqa: PLC0415

    run_list(_settings(data_dir), tenant=tenant)


@users.command(name="change")
def change_user(
    name: Name,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="What it is from now on, alone; may be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="From now on only studies that bear it; may be repeated."),
    ] = None,
    all_studies: Annotated[
        bool, typer.Option("--all-studies", help="It sees all studies, whatever they bear.")
    ] = False,
    tenant: Tenant = None,
    data_dir: DataDir = None,
) -> None:
    """Give a user other roles or labels; what is not named stays.

    When this has ended every process knows no others: its sessions and tickets are over, and
    it logs in again.

    Examples:

        fileroom users change meier --role viewer --role uploader

        fileroom users change meier --label trial:42 --label trial:43

        fileroom users change meier --all-studies
    """
    if role is None and label is None and not all_studies:
        raise typer.BadParameter("give a --role, a --label or --all-studies")
    if label and all_studies:
        raise typer.BadParameter("give --label or --all-studies, not both")
    from app.cli.local_users import run_change  # noqa: PLC0415

    run_change(_settings(data_dir), name, role, label, tenant=tenant, all_studies=all_studies)


@users.command(name="remove")
def remove_user(name: Name, tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Forget a user: let in no more, in any process, when this has ended. The name is free then.

    The log and the audit trail keep what was done by that name.

    Example:

        fileroom users remove meier
    """
    from app.cli.local_users import run_remove  # noqa: PLC0415

    run_remove(_settings(data_dir), name, tenant=tenant)


@users.command(name="disable")
def disable_user(name: Name, tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Let a user in no more, in every process, when this has ended.

    Example:

        fileroom users disable meier
    """
    from app.cli.local_users import run_disable  # noqa: PLC0415

    run_disable(_settings(data_dir), name, disabled=True, tenant=tenant)


@users.command(name="enable")
def enable_user(name: Name, tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Let a user in again.

    Example:

        fileroom users enable meier
    """
    from app.cli.local_users import run_disable  # noqa: PLC0415

    run_disable(_settings(data_dir), name, disabled=False, tenant=tenant)


@users.command(name="passwd")
def set_password(
    name: Name, password_file: PasswordFile = None, tenant: Tenant = None, data_dir: DataDir = None
) -> None:
    """Give a user another password; the one before counts no more when this has ended.

    Example:

        fileroom users passwd meier
    """
    from app.cli.local_users import run_passwd  # noqa: PLC0415

    run_passwd(_settings(data_dir), name, password_file, tenant=tenant)


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    application.add_typer(keys, name="keys")
    application.add_typer(users, name="users")
