"""The commands that keep what is stored: verify, purge, manifest, backup, restore, drill, upgrade.

As in `main`, what a command needs is imported when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from app.cli import seal
from app.cli.options import DataDir, flags

commands = typer.Typer(rich_markup_mode="markdown")
commands.command()(seal.manifest)


@commands.command()
def verify(  # noqa: PLR0913, PLR0917 - a flag each
    since: Annotated[
        str | None, typer.Option(help="Only what was stored since this date or time (UTC).")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Only this Study Instance UID.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Read at most so many MB/s.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the findings as JSON.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend from a copy; without one, quarantine.")
    ] = False,
    manifest: seal.Manifests = None,
    key: seal.Keys = None,
    data_dir: DataDir = None,
) -> None:
    """Read all objects again, in all stores, and compare them with what was stored.

    Tells of objects and segments of the log that are damaged or missing (the exit code is then 3),
    and of objects older than an hour that the index does not name: `fileroom sweep` is for those.
    Without --repair no object is changed; what is found is noted, and `fileroom doctor` tells of
    it until it is sound again. The server may run meanwhile.

    Examples:

        fileroom verify

        fileroom verify --since 2026-01-31 --rate 50 --report findings.json

        fileroom verify --manifest 2026-01-31.json
    """
    if seal.proves(manifest, key, since, study, repair):
        seal.prove(manifest, key, flags(data_dir), rate, report)
    from app.cli.verifying import run_verify  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    settings = load_settings(flags(data_dir))
    raise typer.Exit(run_verify(settings, since, study, rate, report, repair=repair))


@commands.command()
def purge(
    older_than: Annotated[
        float, typer.Option(min=0, max=36_500, help="Days since it was deleted.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else say what would be.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give back the room of what was deleted long ago. There is no way back from it.

    What is rejected stays, as it may be brought back. The server may run meanwhile.

    Examples:

        fileroom purge --older-than 90

        fileroom purge --older-than 90 --yes
    """
    from app.cli.purging import run_purge  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    raise typer.Exit(run_purge(load_settings(flags(data_dir)), older_than, really=yes))


@commands.command()
def backup(
    to: Annotated[
        str | None, typer.Argument(help="A directory or s3://bucket/… [FILEROOM_BACKUP__URL].")
    ] = None,
    encrypt_to: Annotated[
        list[str] | None,
        typer.Option(help="Public key of age, or a file of them [FILEROOM_BACKUP__RECIPIENTS]."),
    ] = None,
    keep: Annotated[int, typer.Option(min=0, help="Give up all but so many; 0 keeps all.")] = 0,
    plain: Annotated[
        bool, typer.Option("--plain", help="Not encrypted, though earlier ones there are.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Back up the archive: its index as it is now, and every object that is not there yet.

    The server may run meanwhile. Objects are checked on the way; if one is damaged or missing, the
    backup is made without it, and the exit code is 3. Try it with `fileroom drill`: what that
    finds damaged in the place, the next backup puts there anew.

    Examples:

        fileroom backup /mnt/backup

        fileroom backup s3://backups/fileroom --encrypt-to age1… --keep 30
    """
    from app.cli.backing_up import run_backup  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    settings = load_settings(flags(data_dir))
    raise typer.Exit(run_backup(settings, to, encrypt_to or (), keep, plain=plain))


BackupSource = Annotated[
    str | None, typer.Argument(help="Where the backups are [FILEROOM_BACKUP__URL].")
]
BackupKey = Annotated[
    Path | None, typer.Option(help="File with the private key of age, if it is encrypted.")
]


@commands.command()
def restore(
    source: BackupSource = None,
    stamp: Annotated[str, typer.Option("--backup", help="Which one; else the newest.")] = "",
    key: BackupKey = None,
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into a new data directory; `serve` it then.

    May be interrupted and run again. Objects that are whole in their place already are not fetched.

    Example:

        fileroom restore /mnt/backup --data-dir /srv/fileroom
    """
    from app.cli.backing_up import run_restore  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    raise typer.Exit(run_restore(load_settings(flags(data_dir)), source, stamp, key))


@commands.command()
def drill(
    source: BackupSource = None,
    key: BackupKey = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Where there is room for all of it [the data directory].")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Rehearse: restore the newest backup into a scratch place, check all of it, and say how old
    it is and how long that took. The exit code is 3 if something is not whole.

    Example:

        fileroom drill /mnt/backup --scratch /mnt/scratch
    """
    from app.cli.backing_up import run_drill  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    settings = load_settings(flags(data_dir))
    raise typer.Exit(run_drill(settings, source, key, scratch or settings.data_dir))


@commands.command()
def rebuild(
    report: Annotated[Path | None, typer.Option(help="Write what happened as JSON.")] = None,
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="Believe a log that no store has as it was signed.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Make a new index from the objects alone, where the old one is lost and there is no backup.

    The sealed log among the objects says what was stored, deleted and rejected. Each object is read
    and checked. What is admitted or left out beyond the log is listed; if something that was
    stored is lost, or there is no log, the exit code is 3. A segment of the log that no store has
    as it was signed ends it. May be interrupted and run again.

    Example:

        mv data/postgres lost && fileroom rebuild --report rebuilt.json
    """
    from app.cli.rebuilding import run_rebuild  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    raise typer.Exit(run_rebuild(load_settings(flags(data_dir)), report, doubtful=doubtful))


@commands.command()
def upgrade(
    from_bin: Annotated[
        Path | None,
        typer.Option(help="The directory of the former PostgreSQL's programs [where packages go]."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Carry the index over from an older PostgreSQL to the one of this installation.

    Needed once, when Fileroom comes with a new major version of PostgreSQL: `serve` says so. The
    programs of the former version have to be there (docs/upgrading.md). All rows are
    compared; the former cluster is kept. May be broken off and run again.

    Examples:

        fileroom upgrade --data-dir /srv/fileroom

        fileroom upgrade --from-bin /usr/lib/postgresql/18/bin
    """
    from app.cli.upgrading import run_upgrade  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_upgrade(load_settings(flags(data_dir)), from_bin)


copies = typer.Typer(no_args_is_help=True, help="Further stores: FILEROOM_OBJECTS__COPIES.")


@copies.command(name="fill")
def fill_copy(
    name: Annotated[str, typer.Argument(help="A copy's name.")], data_dir: DataDir = None
) -> None:
    """Queue all that is stored for a copy, and the log; the server copies it. Secrets go at once.

    What is there already stays.

    A copy that is new is filled by itself.

    Example:

        fileroom copies fill offsite
    """
    from app.cli.copies import run_fill  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_fill(load_settings(flags(data_dir)), name)


@copies.command(name="list")
def list_copies(data_dir: DataDir = None) -> None:
    """Print the stores, whether they answer, and what waits for each.

    Example:

        fileroom copies list
    """
    from app.cli.copies import run_list  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list(load_settings(flags(data_dir)))
