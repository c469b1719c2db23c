"""The command `fileroom`. What a command needs is imported when it runs, so that `--help` is quick.

Each command does one thing: it makes settings, opens what it needs, calls a function, and says how
it went. Errors that an operator can mend end it with a sentence and exit code 1.
"""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app import __version__
from app.cli import (
    audit,
    background,
    exchange,
    forwarding,
    identity,
    label,
    override,
    safety,
    seal,
    tenant,
    ticket,
    worklist,
)
from app.cli.keeping import add_commands
from app.cli.options import DataDir, flags

application = typer.Typer(
    name="fileroom",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="An archive for medical images that speaks DICOMweb.",
    epilog=(
        "Begin with `fileroom serve`, and open the address that it prints.\n\n"
        "Settings are variables such as FILEROOM_HTTP__PORT, in the environment or in a file .env; "
        "docs/settings.md lists them. Flags go before variables."
    ),
)

Host = Annotated[
    str | None, typer.Option(help="Address to listen on [FILEROOM_HTTP__HOST; 127.0.0.1].")
]
Port = Annotated[int | None, typer.Option(help="Port to listen on [FILEROOM_HTTP__PORT; 8080].")]


@application.command()
def serve(  # noqa: PLR0913, PLR0917
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Annotated[
        int | None, typer.Option(help="Server processes [FILEROOM_HTTP__WORKERS; 1].")
    ] = None,
    root_path: Annotated[
        str | None,
        typer.Option(help="Path below which a proxy shows the archive [FILEROOM_HTTP__ROOT_PATH]."),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="Certificate with its chain, in PEM [FILEROOM_HTTP__TLS_CERT]."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key, in PEM [FILEROOM_HTTP__TLS_KEY].")
    ] = None,
) -> None:
    """Start the archive and serve it until Ctrl-C.

    With no settings it makes `./data`, runs a PostgreSQL of its own there, and listens on
    http://127.0.0.1:8080/ for this machine alone.

    Examples:

        fileroom serve

        fileroom serve --port 9000 --data-dir /srv/fileroom

        fileroom keys create me --admin

        FILEROOM_AUTH__KEYS=true fileroom serve --host 0.0.0.0 --tls-cert c.pem --tls-key k.pem
    """
    from app.cli.serving import serve_archive  # noqa: PLC0415

    http: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    http |= {"root_path": root_path, "tls_cert": tls_cert, "tls_key": tls_key}
    serve_archive(flags(data_dir, http=http))


@application.command(name="import")
def import_(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, zips, DICOMDIRs; `@LIST` reads names from a file, `-` from "
            "standard input, one on a line or ended by NUL."
        ),
    ],
    report: Annotated[
        Path | None, typer.Option(help="Write what happened, each refusal included, as JSON.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Files at once.")] = 8,
    data_dir: DataDir = None,
) -> None:
    """Bring files into the archive, as if they had been sent to it.

    May be interrupted and run again: what is stored already is skipped. Files that are no DICOM are
    passed over; what is refused is listed with the reason, and the exit code is then 3. The server
    may run meanwhile.

    Examples:

        fileroom import /media/cdrom

        fileroom import old-archive/ more.zip --report report.json

        find /data -name '*.dcm' -print0 | fileroom import -
    """
    from app.cli.importing import run_import  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    raise typer.Exit(run_import(load_settings(flags(data_dir)), paths, report, parallel))


@application.command()
def export(
    studies: Annotated[
        list[str],
        typer.Argument(help="Study Instance UIDs, or categories such as hanging-protocols."),
    ],
    to: Annotated[Path, typer.Option(help="A folder, or a zip if the name ends so.")],
    data_dir: DataDir = None,
) -> None:
    """Write studies to a folder or a zip, each file byte for byte as it was received.

    May be run again: files that are there already are not written twice. If an instance cannot be
    read as it was stored, the others are written all the same, and the exit code is 3.

    Examples:

        fileroom export 1.2.840.113619.2.1 --to /media/usb

        fileroom export 1.2.840.113619.2.1 1.2.840.113619.2.2 --to studies.zip

        fileroom export color-palettes hanging-protocols --to /media/usb
    """
    from app.cli.exporting import run_export  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    raise typer.Exit(run_export(load_settings(flags(data_dir)), studies, to))


index_tags = typer.Typer(
    no_args_is_help=True,
    help="Have any attribute answered for by the index, as the usual search keys are.",
    epilog=(
        "A TAG is a keyword or a tag, with dots for Sequences, as in a search. For a private one "
        "say whose it is: `'00090010=ACME&00091001'`."
    ),
)
application.add_typer(index_tags, name="index-tags")

Tags = Annotated[list[str], typer.Argument(help="Keywords or tags, with dots for Sequences.")]


@index_tags.command(name="add")
def add_tags(tags: Tags, data_dir: DataDir = None) -> None:
    """Index attributes, from what the archive knows of its data; no stored object is read.

    The server may run meanwhile: what is stored is indexed at once, and searches use the attribute
    when all is done. May be interrupted and run again.

    Examples:

        fileroom index-tags add SliceThickness ViewCodeSequence.CodeValue

        fileroom index-tags add '00090010=ACME&00091001'
    """
    from app.cli.index_tags import run_add  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_add(load_settings(flags(data_dir)), tags)


@index_tags.command(name="remove")
def remove_tags(tags: Tags, data_dir: DataDir = None) -> None:
    """Remove attributes from the index again.

    Example:

        fileroom index-tags remove SliceThickness
    """
    from app.cli.index_tags import run_remove  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_remove(load_settings(flags(data_dir)), tags)


@index_tags.command(name="list")
def list_tags(data_dir: DataDir = None) -> None:
    """Print which attributes are indexed beyond the usual keys, and how far each is.

    Example:

        fileroom index-tags list
    """
    from app.cli.index_tags import run_list  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list(load_settings(flags(data_dir)))


application.add_typer(safety.commands)
application.add_typer(safety.copies, name="copies")


application.add_typer(seal.keys, name="seal-keys")


application.add_typer(label.commands, name="label")


application.add_typer(audit.commands, name="audit")
application.add_typer(worklist.commands, name="worklist")


forwarding.add_commands(application)


add_commands(application)


identity.add_commands(application)
ticket.add_commands(application)
override.add_commands(application)
tenant.add_commands(application)


background.add_commands(application)


exchange.add_commands(application)


@application.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the index to this version.

    `serve` does it by itself where PostgreSQL is its own. With FILEROOM_DATABASE__URL stop the
    servers, make a backup, and run this once; also after the database has moved to another
    PostgreSQL, so that the log goes on in its order.

    Example:

        FILEROOM_DATABASE__URL=postgresql://fileroom@db/fileroom fileroom migrate
    """
    import asyncio  # noqa: PLC0415

    from app.cli.joining import joined_index  # noqa: PLC0415
    from app.index import migrations  # noqa: PLC0415
    from app.index.dump import settle_log  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    with joined_index(load_settings(flags(data_dir)), "fileroom migrate") as joined:
        done = [f"applied {revision}" for revision in migrations.migrate(joined.url)]
        if asyncio.run(settle_log(joined.url)):
            done.append("the log goes on after what another PostgreSQL wrote")
    typer.echo("\n".join(done) or "nothing to do")


@application.command()
def doctor(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is wrong with this archive, and how to mend it.

    Checks, in this order: Python, settings, data directory, who serves it, PostgreSQL, the index,
    the port, the keys, the objects and those that are stored, the seal, the jobs, what is sent on,
    the clock. Exits with 1 if something has to be mended.

    Examples:

        fileroom doctor

        fileroom doctor --data-dir /srv/fileroom --json
    """
    from app.cli.doctor import examine, report  # noqa: PLC0415

    given = flags(data_dir, http={"host": host, "port": port})
    if not report(examine(given), as_json=as_json, write=typer.echo):
        raise typer.Exit(1)


@application.command()
def openapi(
    check: Annotated[
        Path | None,
        typer.Option(help="Compare with this file instead; exit with 1 if it differs."),
    ] = None,
) -> None:
    """Print the HTTP contract (OpenAPI) as YAML.

    Examples:

        fileroom openapi > openapi.yaml

        fileroom openapi --check openapi.yaml
    """
    from app.cli.contract import check_contract, contract_text  # noqa: PLC0415

    if check is None:
        typer.echo(contract_text(), nl=False)
    else:
        check_contract(check)


@application.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"fileroom {__version__}")


def main() -> NoReturn:
    """Run the command; an error that an operator can mend becomes a sentence."""
    from app.cli.ending import end  # noqa: PLC0415

    try:
        application()
    except SystemExit as ended:
        end(ended.code if isinstance(ended.code, int) else 0)
    except Exception as error:
        from app.cli.refusal import is_for_operator  # noqa: PLC0415

        if not is_for_operator(error):
            raise
        typer.echo(f"fileroom: {error}", err=True)
        end(1)
    end(0)
