"""The peer: Orthanc with its DICOMweb plugin, as Debian ships it, in a chroot of its own.

Four things were seen to falsify figures, and are prevented here. DCMTK asks for its host's
name, so the chroot has a hosts file (without one each look-up takes seconds). Nagle's algorithm
is switched off in Orthanc and in DCMTK. Orthanc listens on every address, so all runs in a
network namespace. It works on after a series came to rest, so callers wait until it is idle.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from benchmarks.server import Server, free_port

SUITES = ("trixie", "bookworm")
PACKAGES = ("orthanc", "orthanc-dicomweb", "orthanc-postgresql")
_PLUGIN, POSTGRESQL_PLUGIN = "libOrthancDicomWeb.so", "libOrthancPostgreSQLIndex.so"
_COMPLETE = "complete"
_PLUGIN_FOLDERS = ("usr/share/orthanc/plugins", "usr/lib/orthanc")

SETTINGS: dict[str, object] = {
    "SyncStorageArea": True,
    "OverwriteInstances": False,
    "StorageCompression": False,
    "DicomServerEnabled": False,
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": False,
    "HttpCompressionEnabled": True,
    "HttpThreadsCount": 50,
    "HttpRequestTimeout": 600,
    "KeepAlive": True,
    "KeepAliveTimeout": 60,
    "TcpNoDelay": True,
    "StableAge": 3,
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
}
"""What differs from Orthanc's defaults, or matters and is said so that it stays as it is."""


def prepare_peer(cache: Path) -> Path:
    """Return a root directory with Orthanc in it, made on the first run; needs the network.

    Exits with a plain sentence when no such directory can be made.
    """
    for suite in SUITES:
        complete = cache / suite / _COMPLETE
        if complete.exists() and complete.read_text().split() == list(PACKAGES):
            return cache / suite
    _require_debootstrap()
    problems = []
    for suite in SUITES:
        try:
            return _make_root(cache, suite)
        except subprocess.CalledProcessError as error:
            problems.append(f"{suite}: {' '.join(error.cmd[:3])} … ended with {error.returncode}")
    sys.exit(
        "Orthanc could not be installed beside Fileroom:\n  " + "\n  ".join(problems) + "\n"
        f"See {cache / 'install.log'}, or measure Fileroom alone with `--only fileroom`."
    )


def _require_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    if shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "debootstrap"], check=False)
    if not shutil.which("debootstrap"):
        sys.exit("Please install the package `debootstrap`; Orthanc is installed with it.")


def find_mirror() -> str:
    """Return the Debian mirror that this machine's own apt is set to."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    mirrors = [site for site in sites if site.rstrip("/").endswith("/debian")]
    if not mirrors:
        raise subprocess.CalledProcessError(1, command)
    return mirrors[0]


def _download_environment() -> dict[str, str]:
    """Return the environment with apt's own proxy in it, if it has one."""
    command = ["apt-config", "shell", "proxy", "Acquire::http::Proxy"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    proxy = told.partition("=")[2].strip().strip("'")
    return {**os.environ, **({"http_proxy": proxy} if proxy else {})}


def _make_root(cache: Path, suite: str) -> Path:
    root, partial = cache / suite, cache / f"{suite}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    environment = _download_environment()
    install = "apt-get update -q && apt-get install -y -q --no-install-recommends "
    steps = (
        ["debootstrap", "--variant=minbase", suite, str(partial), find_mirror()],
        ["chroot", str(partial), "sh", "-c", install + " ".join(PACKAGES)],
    )
    print(f"Installing Orthanc of Debian {suite} in {root} (once, about a minute)", flush=True)
    with (cache / "install.log").open("ab") as log:
        for step in steps:
            subprocess.run(
                step,
                check=True,
                stdout=log,
                stderr=log,
                env={**environment, "DEBIAN_FRONTEND": "noninteractive"},
            )
    (partial / _COMPLETE).write_text(" ".join(PACKAGES))
    shutil.rmtree(root, ignore_errors=True)
    return partial.rename(root)


def enter_root(root: Path) -> None:
    """Give the chroot what a program expects of a system; only in our own mount namespace."""
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    subprocess.run(["mount", "--rbind", "/dev", str(root / "dev")], check=True)


def make_server(root: Path, cache: Path, directory: str, *, works_on: bool = True) -> Server:
    """Return an Orthanc that keeps what it has in `root`/srv/`directory`.

    Unless it `works_on`, it never takes a series as complete, and so makes no metadata of the
    20,000 series that are only searched: that would take it a core for half an hour.
    """
    kept, port = root / "srv" / directory, free_port()
    kept.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS | {
        **({} if works_on else {"StableAge": 7 * 86400}),
        "HttpPort": port,
        "StorageDirectory": f"/srv/{directory}",
        "IndexDirectory": f"/srv/{directory}",
        "Plugins": [find_plugin(root, _PLUGIN)],
    }
    (root / "srv" / f"{directory}.json").write_text(json.dumps(settings, indent=2))
    command = ["chroot", str(root), "Orthanc", f"/srv/{directory}.json"]
    environment = {"TCP_NODELAY": "1", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    log = cache / "orthanc.log"
    return Server("Orthanc", command, kept, port, "/system", log, environment=environment)


def find_plugin(root: Path, name: str) -> str:
    """Return where a plugin lies, as Orthanc sees it."""
    places = [Path(folder) / name for folder in _PLUGIN_FOLDERS]
    return f"/{next(place for place in places if (root / place).exists())}"


def find_versions(root: Path) -> dict[str, str]:
    """Return the versions of Orthanc and what it stands on."""
    command = ["chroot", str(root), "dpkg-query", "-W", *PACKAGES, "libsqlite3-0"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    versions = dict(line.split("\t") for line in lines)
    name = (root / "etc/debian_version").read_text().strip()
    return {"Debian": name, **{key.split(":")[0]: value for key, value in versions.items()}}
