"""`fileroom serve`: settings, the supervisor, and what it prints."""

import time
from collections.abc import Mapping
from typing import Any

import typer

from app import __version__
from app.cli.supervise import Supervisor
from app.settings import Settings, load_settings

APPLICATION = "app.main:create_app"


def serve_archive(flags: Mapping[str, Any]) -> None:
    """Serve until told to stop."""
    settings = load_settings(flags)
    Supervisor(settings, _tell, APPLICATION).run(_announce)


def _tell(message: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {message}", err=True)


def _announce(settings: Settings) -> None:
    base = settings.base_url
    who = "this machine alone" if settings.auth.key_file is None else "holders of the key"
    lines = (
        f"Fileroom {__version__} is ready",
        f"  Page       {base}/",
        f"  DICOMweb   {base}/dicom-web",
        f"  WADO-URI   {base}/wado",
        f"  Contract   {base}/docs",
        f"  Data       {settings.data_dir.absolute()}",
        f"  Open to    {who}",
        "Stop with Ctrl-C.",
    )
    typer.echo("\n".join(lines))
