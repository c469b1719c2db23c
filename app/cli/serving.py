"""`fileroom serve`: settings, the supervisor, and what it prints."""

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import typer

from app import __version__
from app.cli.supervise import Supervisor
from app.cli.tls import server_context
from app.settings import Auth, Settings, load_settings

APPLICATION = "app.main:create_app"


def serve_archive(flags: Mapping[str, Any]) -> None:
    """Serve until told to stop."""
    settings = load_settings(flags)
    server_context(settings.http)  # a bad certificate is told of before anything is started
    for_people = settings.log.format == "console" or (
        settings.log.format == "auto" and sys.stderr.isatty()
    )
    Supervisor(settings, _tell if for_people else _log, APPLICATION).run(_announce)


def _tell(message: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {message}", err=True)


def _log(message: str) -> None:
    """Write a line as the workers' logs write it; their library is too large for the parent."""
    told = {"event": message, "level": "warning", "timestamp": datetime.now(UTC).isoformat()}
    typer.echo(json.dumps(told), err=True)


def _announce(settings: Settings) -> None:
    base = settings.base_url
    lines = [
        f"Fileroom {__version__} is ready",
        f"  Page       {base}/",
        f"  DICOMweb   {base}/dicom-web",
        f"  WADO-URI   {base}/wado",
        f"  Contract   {base}/docs",
        f"  Data       {settings.data_dir.absolute()}",
        f"  Open to    {_open_to(settings.auth)}",
        "Stop with Ctrl-C.",
    ]
    if settings.dimse.port is not None:
        where = f"{settings.dimse.host}, port {settings.dimse.port}"
        lines.insert(-1, f"  DIMSE      {settings.dimse.ae_title} on {where}")
    typer.echo("\n".join(lines))


def _open_to(auth: Auth) -> str:
    known = (
        (auth.key_file is not None, "holders of the key"),
        (auth.keys, "holders of API keys"),
        (auth.basic or auth.login, "users with a password"),
        (auth.oidc.issuer is not None, "those whom the identity provider knows"),
    )
    return ", ".join(who for is_on, who in known if is_on) or "this machine alone"
