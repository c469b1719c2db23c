"""Our own PostgreSQL on one machine: made, started, stopped and recovered without a hand's help.

    <directory>/lock          held by the process that runs PostgreSQL
    <directory>/running       held by PostgreSQL's processes themselves, so as long as one lives
    <directory>/18/           the cluster; the major version is in the path
    <directory>/socket/       its Unix socket; there is no TCP
    <directory>/postgres.log  what it says; no statements, no values

Rules that hold: PostgreSQL is a child that gets SIGINT (a fast shutdown) when its parent dies.
Stale lock files are removed only while both locks are ours, so while no process of the cluster
can be alive. `peer` lets in root and whoever started it, both as the role `fileroom`, and nobody
else: not even the account that root lends, which other programs may run under as well.

As root it runs under another account (`account.py`), which often may not enter the data
directory by its path. So it is started inside its cluster and told `-D /proc/self/cwd`, and its
socket directory is named relative to that.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from app.index.account import Account, EmbeddedError, choose_account, user_name
from app.index.binaries import installed_programs, major_version, programs_for
from app.index.locks import FileLock
from app.index.orphans import processes_in, signal_all
from app.index.parent import ends_with_parent
from app.index.versions import check_version, sync_directory

ROLE = "fileroom"
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 107
LOG_BYTES = 8 * 2**20
HERE = "/proc/self/cwd"
LEAST_FREE_BYTES = 64 * 10**6
"""It writes its log of changes in files of 16 MiB."""

SETTINGS: Mapping[str, str] = {
    "max_connections": "60",
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "io_method": "sync",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "autovacuum_worker_slots": "4",
    "autovacuum_max_workers": "2",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "idle_in_transaction_session_timeout": "10min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # The log must not carry what patients are called: no statements, no details of rows.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "cluster_name": "fileroom",
}


class AlreadyRunning(EmbeddedError):
    """Another process runs the PostgreSQL of this directory; it can be joined."""

    def __init__(self, pid: int, what: str) -> None:
        super().__init__(f"PostgreSQL is already run by process {pid} ({what or 'fileroom'}).")
        self.pid = pid


class EmbeddedPostgres:
    """The PostgreSQL of one directory. Start it from a thread that lives as long as it shall."""

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self.cluster = self.directory / major_version()
        self.settings = {**SETTINGS, **(settings or {})}
        self._lock = FileLock(self.directory / "lock")
        self._running = FileLock(self.directory / "running")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None if it is not our child or has ended."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def start(
        self,
        *,
        note: str = "",
        patience: float = 120,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make the cluster if there is none, end what is left of an earlier run, and start.

        Returns when PostgreSQL answers, after crash recovery however long that takes. `note`
        tells other processes what we are; `waiting` is told now and then why it takes long;
        `patience` is for what is left of an earlier run to end.

        Raises:
            AlreadyRunning: another living process runs it.
            EmbeddedError: it does not start; the message says why.
        """
        if self.pid is not None:
            return
        check_version(self.cluster)  # before anything is touched
        account = choose_account(self.cluster)
        self._make_directory(account)
        if not self._lock.acquire(note):
            raise AlreadyRunning(*(self._lock.holder() or (0, "")))
        try:
            self._end_leftovers(patience, waiting)
            check_version(self.cluster)
            self._check_owner(account)
            programs = self._find_programs(account)
            if not self.cluster.is_dir():
                self._make_cluster(account, programs)
            self._configure(account)
            self._spawn(account, programs)
            self._wait_until_ready(waiting)
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError | EmbeddedError):
                self._check_room()
            raise

    def stop(self, *, patience: float = 60) -> None:
        """Stop with a checkpoint; without one (the next start recovers) when that takes long."""
        process, self._process = self._process, None
        if process is not None:
            gently = [signal.SIGINT] if self.is_ready() else []  # 18 hangs if it recovers
            for number in (*gently, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience if number is signal.SIGINT else 10)
                    break
        self._running.release()
        self._lock.release()

    def running_elsewhere(self) -> tuple[int, str] | None:
        """Return process id and note of another process that runs it, None if there is none."""
        return None if self._process else self._lock.holder()

    def is_ready(self) -> bool:
        """Say whether PostgreSQL answers, whoever started it."""
        asked = (installed_programs() / "bin" / "pg_isready", "-q", "-h", self.socket_directory())
        return subprocess.run(asked, env=_environment(), check=False).returncode == 0  # noqa: S603

    def url(self, database: str = "fileroom") -> str:
        """Return the `postgresql://` URL of a database, over the Unix socket."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self.socket_directory()))}"

    def ensure_database(self, name: str = "fileroom") -> None:
        """Make the database unless it is there."""
        statement = (
            f"SELECT 'CREATE DATABASE \"{name}\"' WHERE NOT EXISTS "  # noqa: S608 - our own name
            f"(SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
        )
        self.run_script(statement)

    def run_script(self, script: str, database: str = "postgres") -> str:
        """Run SQL through `psql` and return what it prints, rows unaligned and without headers.

        Raises:
            EmbeddedError: PostgreSQL refused it.
        """
        psql = installed_programs() / "bin" / "psql"
        flags = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            [psql, *flags, "-h", self.socket_directory(), "-U", ROLE, "-d", database],
            input=script.encode(),
            capture_output=True,
            env=_environment(),
            check=False,
        )
        if done.returncode:
            raise EmbeddedError(f"PostgreSQL refused: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def shorten_log(self) -> None:
        """Put a log that has grown too long aside; PostgreSQL goes on at the beginning of it."""
        log = self._log()
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)

    def socket_directory(self) -> Path:
        """Return the socket's directory, or a short link to it: socket paths hold 107 bytes."""
        place = self.directory / "socket"
        if len(os.fsencode(place / SOCKET)) <= LONGEST_SOCKET_PATH:
            return place
        links = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        links = links / f"fileroom-{os.geteuid()}"
        links.mkdir(mode=0o700, exist_ok=True)
        status = links.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or links.is_symlink():
            raise EmbeddedError(f"{links} does not belong to this user alone; remove it.")
        link = links / hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        if not link.is_symlink() or link.readlink() != place:
            fresh = link.with_suffix(f".{os.getpid()}")
            fresh.symlink_to(place)
            fresh.replace(link)
        return link

    # What follows is how `start` does it.

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.directory).free
        if free < LEAST_FREE_BYTES:
            raise EmbeddedError(
                f"The disk of {self.directory} is full: {free // 10**6} MB are free, and "
                f"PostgreSQL needs {LEAST_FREE_BYTES // 10**6} MB to start. Make room, then start "
                "again; what was stored is still there."
            ) from None

    def _make_directory(self, account: Account) -> None:
        self.directory.mkdir(mode=0o755 if account.foreign else 0o700, parents=True, exist_ok=True)
        socket = self.directory / "socket"
        socket.mkdir(mode=0o700, exist_ok=True)
        if account.foreign:
            os.chown(socket, account.uid, account.gid, follow_symlinks=False)

    def _end_leftovers(self, patience: float, waiting: Callable[[str], None]) -> None:
        """Wait until no process of an earlier run is alive, and help them to end."""
        begun = time.monotonic()
        steps = [(0.0, signal.SIGINT), (0.5, signal.SIGQUIT), (0.9, signal.SIGKILL)]
        while not self._running.acquire() or any(self._others()):
            elapsed = time.monotonic() - begun
            if elapsed > patience:
                raise EmbeddedError(
                    f"A PostgreSQL of an earlier run still works in {self.cluster} "
                    f"(processes {', '.join(map(str, self._others())) or 'of another container'}) "
                    "and does not end. Stop it and start again."
                )
            if steps and elapsed >= steps[0][0] * patience:
                waiting("Ending a PostgreSQL that an earlier run has left behind")
                signal_all(self.cluster, steps.pop(0)[1])
            time.sleep(0.02)
        for name in (self.cluster / "postmaster.pid", *(self.directory / "socket").glob(".s.PG*")):
            name.unlink(missing_ok=True)

    def _others(self) -> list[int]:
        return list(processes_in(self.cluster)) if self.cluster.is_dir() else []

    def _check_owner(self, account: Account) -> None:
        owner = self.cluster.stat().st_uid if self.cluster.is_dir() else account.uid
        if owner != account.uid:
            raise EmbeddedError(
                f"{self.cluster} belongs to user {user_name(owner)}, not to {account.name}. "
                f"Start fileroom as {user_name(owner)} or as root."
            )

    def _find_programs(self, account: Account) -> Path:
        return programs_for(account, self.directory)

    def _make_cluster(self, account: Account, programs: Path) -> None:
        """Make it beside its place and move it there when it is whole."""
        unfinished = self.directory / f"{self.cluster.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, account.uid, account.gid)
        command = [
            str(programs / "bin" / "initdb"),
            f"--pgdata={HERE}",
            f"--username={ROLE}",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            "--auth-local=peer",
            "--auth-host=reject",
            "--no-instructions",
        ]
        child = self._child(account, command, unfinished, subprocess.PIPE)
        said, _ = child.communicate()
        if child.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise EmbeddedError(f"initdb failed: {_last_lines(said)}")
        with (unfinished / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude 'fileroom.conf'  # written anew at each start\n")
        unfinished.rename(self.cluster)
        sync_directory(self.directory)

    def _configure(self, account: Account) -> None:
        names = {pwd.getpwuid(os.geteuid()).pw_name, "root"}
        maps = "".join(f'fileroom "{name}" {ROLE}\n' for name in sorted(names))
        lines = (f"{name} = '{value}'\n" for name, value in self.settings.items())
        self._write(account, "pg_hba.conf", "local all all peer map=fileroom\n")
        self._write(account, "pg_ident.conf", maps)
        self._write(account, "fileroom.conf", "".join(lines))

    def _write(self, account: Account, name: str, text: str) -> None:
        """Put a file in the cluster. Its owner could have laid a link there: follow none."""
        fresh = self.cluster / f".{name}.fresh"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchown(file.fileno(), account.uid, account.gid)
        fresh.replace(self.cluster / name)

    def _spawn(self, account: Account, programs: Path) -> None:
        self.shorten_log()
        place = HERE if account.foreign else str(self.cluster)
        command = [
            str(programs / "bin" / "postgres"),
            *("-D", place),
            *("-c", "listen_addresses="),
            *("-c", "unix_socket_directories=../socket"),
            *("-c", "unix_socket_permissions=0700"),
        ]
        with self._log().open("ab") as log:
            self._process = self._child(account, command, self.cluster, log.fileno())
        self._running.release()  # PostgreSQL's processes hold it now

    def _child(
        self, account: Account, command: list[str], place: Path, output: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own programs, no shell
            command,
            cwd=place,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(self._running.fileno(),),
            process_group=0,  # a Ctrl-C in the terminal is for the parent alone
            umask=0o077,
            preexec_fn=ends_with_parent(signal.SIGINT),  # noqa: PLW1509 - only a system call
            user=account.uid if account.foreign else None,
            group=account.gid if account.foreign else None,
            extra_groups=[] if account.foreign else None,
        )

    def _log(self) -> Path:
        log = self.directory / "postgres.log"
        log.touch(mode=0o600)
        return log

    def _wait_until_ready(self, waiting: Callable[[str], None]) -> None:
        begun = told = time.monotonic()
        while self._status() != "ready":
            if self.pid is None:
                said = self._log().read_bytes()[-4000:]
                raise EmbeddedError(f"PostgreSQL did not start: {_last_lines(said)}")
            now = time.monotonic()
            if now - told > 5:
                waiting(f"PostgreSQL recovers, {now - begun:.0f} seconds so far")
                told = now
            time.sleep(0.01)

    def _status(self) -> str:
        """Return the state that the postmaster writes in the eighth line of its lock file."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, PermissionError):
            return ""
        if len(lines) < 8 or (self._process and lines[0] != str(self._process.pid)):
            return ""
        return lines[7].strip()


def _environment() -> dict[str, str]:
    """Nothing of the caller's that PostgreSQL or psql would listen to."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in kept if name in os.environ}}


def _last_lines(said: bytes) -> str:
    return " | ".join(said.decode(errors="replace").strip().splitlines()[-6:])
