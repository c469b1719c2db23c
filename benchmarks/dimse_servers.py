"""The three that are measured by DIMSE: ours, Orthanc, and dcmqrscp of DCMTK."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.index.embedded import ROLE, EmbeddedPostgres
from benchmarks import fileroom, peer
from benchmarks.dimse_report import ON_POSTGRESQL
from benchmarks.server import Server, free_port

DCMTK = Path("/usr/bin")
"""pynetdicom brings commands of the same names, which may stand before them in the path."""
PLAIN_SOCKETS = {"TCP_NODELAY": "1"}
"""DCMTK switches Nagle's algorithm off if this is set, and waits for 40 ms without."""
DESTINATION = "RECEIVER"
_DATABASE = "orthanc"
_MOST_ASSOCIATIONS = 20


@dataclass(slots=True)
class Echoing(Server):
    """A server without HTTP: it is ready when it answers a C-ECHO."""

    def _ask(self) -> int | None:
        title, port = "ARCHIVE", str(self.port)
        command = [str(DCMTK / "echoscu"), "-aec", title, "127.0.0.1", port]
        done = subprocess.run(command, check=False, capture_output=True)
        return None if done.returncode else 200


@dataclass(frozen=True, slots=True)
class Archive:
    """A server, and where it speaks DIMSE."""

    server: Server
    title: str
    port: int

    @property
    def called(self) -> list[str]:
        """How DCMTK's tools name it."""
        return ["-aec", self.title, "127.0.0.1", str(self.port)]


def ours(cache: Path, receiver: int, processes: int) -> Archive:
    """Return our archive with its bridge, open to all."""
    port = free_port()
    peers = [{"ae_title": DESTINATION, "address": "127.0.0.1", "port": receiver}]
    settings = {
        "FILEROOM_DIMSE__PORT": str(port),
        "FILEROOM_DIMSE__OPEN": "true",
        "FILEROOM_DIMSE__PEERS": json.dumps(peers),
        "FILEROOM_DIMSE__PROCESSES": str(processes),
    }
    server = fileroom.make_server(cache, f"dimse-{processes}", settings)
    server.name = "Fileroom" if processes == 1 else f"Fileroom, {processes} processes"
    return Archive(server, "FILEROOM", port)


@dataclass(slots=True)
class OnPostgresql(Server):
    """A server that has its index in a PostgreSQL below its directory, which starts before it."""

    postgres: EmbeddedPostgres | None = None

    def start(self) -> float:
        """Start both; the seconds are the server's."""
        self.postgres = EmbeddedPostgres(self.directory / "postgresql")
        self.postgres.start()
        self.postgres.ensure_database(_DATABASE)
        return Server.start(self)

    def stop(self) -> None:
        """Stop both."""
        Server.stop(self)
        if self.postgres is not None:
            self.postgres.stop()


def orthanc_on_postgresql(root: Path, cache: Path, receiver: int) -> Archive:
    """Return Orthanc with its index in such a PostgreSQL as ours is."""
    made = orthanc(root, cache, receiver, "dimse-postgresql")
    path = root / "srv" / "dimse-postgresql.json"
    settings = json.loads(path.read_text())
    settings["Plugins"].append(peer.find_plugin(root, peer.POSTGRESQL_PLUGIN))
    socket = "/srv/dimse-postgresql/postgresql/socket"
    uri = f"postgresql://{ROLE}@/{_DATABASE}?host={quote(socket, safe='')}"
    settings["PostgreSQL"] = {"EnableIndex": True, "ConnectionUri": uri}
    path.write_text(json.dumps(settings, indent=2))
    told = made.server
    server = OnPostgresql(
        ON_POSTGRESQL,
        told.command,
        told.directory,
        told.port,
        told.ready_path,
        told.log,
        environment=told.environment,
    )
    return Archive(server, made.title, made.port)


def orthanc(root: Path, cache: Path, receiver: int, directory: str = "dimse") -> Archive:
    """Return Orthanc with its DICOM server on, open to all."""
    port = free_port()
    server = peer.make_server(root, cache, directory)
    path = root / "srv" / f"{directory}.json"
    settings = json.loads(path.read_text())
    allowed = {f"DicomAlwaysAllow{word}": True for word in ("Echo", "Store", "Find", "Move")}
    settings |= {
        "DicomServerEnabled": True,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomThreadsCount": _MOST_ASSOCIATIONS,
        "DicomModalities": {"receiver": [DESTINATION, "127.0.0.1", receiver]},
        **allowed,
    }
    path.write_text(json.dumps(settings, indent=2))
    return Archive(server, "ORTHANC", port)


def dcmqrscp(cache: Path, receiver: int) -> Archive:
    """Return DCMTK's archive: files in one directory, and an index file of fixed length."""
    port, directory = free_port(), cache / "dcmqrscp"
    lines = [
        f"NetworkTCPPort = {port}",
        "MaxPDUSize = 131072",
        f"MaxAssociations = {_MOST_ASSOCIATIONS}",
        "HostTable BEGIN",
        f"receiver = ({DESTINATION}, localhost, {receiver})",
        "HostTable END",
        "VendorTable BEGIN",
        "VendorTable END",
        "AETable BEGIN",
        f"ARCHIVE {directory} RW (10000, 100000mb) ANY",
        "AETable END",
    ]
    configuration = cache / "dcmqrscp.cfg"
    configuration.write_text("\n".join(lines) + "\n")
    command = [str(DCMTK / "dcmqrscp"), "-q", "-c", str(configuration), str(port)]
    log = cache / "dcmqrscp.log"
    server = Echoing("dcmqrscp", command, directory, port, "", log, environment=PLAIN_SOCKETS)
    return Archive(server, "ARCHIVE", port)


def find_version() -> str:
    """Return the version of DCMTK."""
    command = [str(DCMTK / "dcmqrscp"), "--version"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return told.split()[2]


def run_tool(tool: str, *arguments: str | Path) -> None:
    """Run one of DCMTK's tools.

    Raises:
        CalledProcessError: it says that it failed; that it says nothing proves nothing.
    """
    environment = {**os.environ, **PLAIN_SOCKETS}
    command = [str(DCMTK / tool), *map(str, arguments)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
