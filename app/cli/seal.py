"""The commands about what is sealed: the manifest of a day, and the keys. Light, as `main` is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app.cli.options import DataDir, flags

Manifests = Annotated[
    list[Path] | None,
    typer.Option(help="Prove what was sealed on a day and is there still; one or more, in order."),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(help="Public key: prove the manifest with it alone, without the archive."),
]

keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that seal the log. Note the public one where nobody can change it unseen.",
)


def manifest(
    day: Annotated[str, typer.Argument(metavar="DATE", help="A day (UTC), such as 2026-01-31.")],
    to: Annotated[Path, typer.Option(help="The file to write.")],
    data_dir: DataDir = None,
) -> None:
    """Write what was sealed on a day: each object's digest, signed, for others to keep.

    `fileroom verify --manifest` proves with it that nothing was changed or lost since. A day that
    is not over is written as far as it goes. The server may run meanwhile.

    Examples:

        fileroom manifest 2026-01-31 --to 2026-01-31.json
    """
    from app.cli.proving import run_manifest  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_manifest(load_settings(flags(data_dir)), day, to)


@keys.command(name="list")
def list_keys(data_dir: DataDir = None) -> None:
    """Print the public keys that seal or have sealed the log, the newest last.

    Example:

        fileroom seal-keys list
    """
    from app.cli.proving import run_list_keys  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list_keys(load_settings(flags(data_dir)))


@keys.command(name="rotate")
def rotate_seal(data_dir: DataDir = None) -> None:
    """Let a new key seal from here on. The old one signs that it does; nothing is sealed anew.

    Example:

        fileroom seal-keys rotate
    """
    from app.cli.proving import run_rotate  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_rotate(load_settings(flags(data_dir)))


def proves(
    manifests: list[Path] | None, trusted: list[str] | None, *others: str | bool | None
) -> bool:
    """Say whether manifests are to be proved; what does not go together is refused."""
    if manifests and any(others):
        raise typer.BadParameter("--manifest takes none of --since, --study, --repair")
    if trusted and not manifests:
        raise typer.BadParameter("--key proves a manifest: say which with --manifest")
    return bool(manifests)


def prove(
    manifests: list[Path] | None,
    trusted: list[str] | None,
    flags: Mapping[str, Any],
    rate: float | None,
    report: Path | None,
) -> NoReturn:
    """Prove manifests, with the archive or with public keys alone, and end with the exit code."""
    from app.cli.proving import run_prove  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    settings = None if trusted else load_settings(flags)
    raise typer.Exit(run_prove(settings, manifests or [], trusted or [], rate, report))
