"""The command line as a person meets it."""

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from app import __version__
from app.cli import safety
from app.cli.main import application

HEAVY = ("fastapi", "sqlalchemy", "asyncpg", "numpy", "pydicom", "pydantic", "alembic", "uvicorn")
COMMANDS = (
    "serve",
    "import",
    "export",
    "verify",
    "purge",
    "backup",
    "restore",
    "drill",
    "rebuild",
    "upgrade",
    "manifest",
    "sweep",
    "worker",
    "dimse",
    "send",
    "fetch",
    "migrate",
    "doctor",
    "openapi",
    "version",
)
FAR_EVENT = """
INSERT INTO event (tenant_id, xid, kind, actor, payload)
SELECT id, '9000000000', 'accepted', 'somebody', '{}' FROM tenant
"""
"""As a cluster of long use has left it."""


def fileroom(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does."""
    kept = {name: value for name, value in os.environ.items() if "FILEROOM" not in name}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env={**kept, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "100", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_every_command_and_says_how_to_begin() -> None:
    shown = fileroom("--help").stdout
    assert [name for name in COMMANDS if name not in shown] == []
    assert "Begin with fileroom serve" in shown


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "version"])
def test_help_of_a_command_teaches_by_example(command: str) -> None:
    done = fileroom(command, "--help")
    assert done.returncode == 0
    assert f"fileroom {command}" in done.stdout.split("Example", 1)[1]


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    script = f"""
import sys
from app.cli.main import application
try:
    application(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_the_parent_of_serve_imports_neither_web_framework_nor_database_driver() -> None:
    script = f"""
import sys
import app.cli.serving
print([name for name in {HEAVY!r} if name in sys.modules and name != "pydantic"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package() -> None:
    assert fileroom("version").stdout == f"fileroom {__version__}\n"


def test_no_command_at_all_shows_the_help() -> None:
    done = fileroom()
    assert "Begin with fileroom serve" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["migrate", "doctor", "serve"])
def test_a_setting_that_is_not_known_ends_with_a_sentence(command: str, tmp_path: Path) -> None:
    done = fileroom(command, "--data-dir", str(tmp_path), FILEROOM_HTTP__PROT="1")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "FILEROOM_HTTP__PROT is not a setting of this version." in said
    assert "Traceback" not in said


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    script = """
import app.cli.main as main
def broken(): raise ValueError("broken")
main.application = broken
main.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_every_command_is_covered_here() -> None:
    named = [
        (entry.name or getattr(entry.callback, "__name__", ""))
        for entry in (*application.registered_commands, *safety.commands.registered_commands)
    ]
    assert sorted(named) == sorted(COMMANDS)


def test_migrate_brings_an_external_index_to_this_version(empty_database_url: str) -> None:
    first = fileroom("migrate", FILEROOM_DATABASE__URL=empty_database_url)
    assert first.returncode == 0
    assert first.stdout.startswith("applied 0001")
    again = fileroom("migrate", FILEROOM_DATABASE__URL=empty_database_url)
    assert again.stdout == "nothing to do\n"


@pytest.mark.slow
async def test_migrate_lets_the_log_of_an_index_that_has_moved_go_on(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(FAR_EVENT)
    first = fileroom("migrate", FILEROOM_DATABASE__URL=database_url)
    assert first.stdout == "the log goes on after what another PostgreSQL wrote\n"
    assert fileroom("migrate", FILEROOM_DATABASE__URL=database_url).stdout == "nothing to do\n"
    assert await connection.fetchval("SELECT event_transaction() > '9000000000'")
    await connection.close()


def test_migrate_says_when_the_database_does_not_answer(tmp_path: Path) -> None:
    url = f"postgresql://fileroom@/fileroom?host={tmp_path}"
    done = fileroom("migrate", FILEROOM_DATABASE__URL=url)
    assert (done.returncode, done.stderr) == (1, "fileroom: the index does not answer\n")


def test_openapi_prints_the_contract_and_compares_it(tmp_path: Path) -> None:
    printed = fileroom("openapi")
    assert printed.stdout.startswith('openapi: "3.1.0"\n')
    (tmp_path / "openapi.yaml").write_text(printed.stdout)
    compared = fileroom("openapi", "--check", str(tmp_path / "openapi.yaml"))
    assert (compared.returncode, compared.stdout) == (0, "")
