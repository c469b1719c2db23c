"""The schema's history against a real PostgreSQL."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import ischema_names

import app
import app.index.audit_tables
import app.index.backup_runs
import app.index.commitment_tables
import app.index.copies_tables
import app.index.forwarding_tables
import app.index.identity_tables
import app.index.ingest_tables
import app.index.job_tables
import app.index.label_tables
import app.index.rebuild_tables
import app.index.segment_tables  # their tables are of the same metadata
import app.index.step_tables
from app.errors import Conflict, Unavailable
from app.index import retention_tables, sign_in_tables  # noqa: F401 - compared, too
from app.index.engine import Index, connect
from app.index.migrations import migrate, pending
from app.index.revisions import migrations_directory, revisions
from app.index.tables import Xid8, metadata


def _execute(url: str, sql: str) -> None:
    async def run() -> None:
        connection = await connect(url)
        await connection.execute(sql)
        await connection.close()

    asyncio.run(run())


async def test_the_migrated_schema_is_that_of_the_tables(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ischema_names, "xid8", Xid8)  # the one type that SQLAlchemy lacks

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    async with index.transaction() as session:
        assert await session.run_sync(differences) == []


async def test_every_text_column_has_the_collation_c(index: Index) -> None:
    rows = await index.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
        " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )
    assert rows == []


async def test_packed_columns_are_stored_as_they_are(index: Index) -> None:
    rows = await index.fetch(
        "SELECT attrelid::regclass::text || '.' || attname AS name FROM pg_attribute"
        " JOIN pg_class c ON c.oid = attrelid AND c.relkind = 'r'"
        " WHERE attstorage = 'e' AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    assert [row["name"] for row in rows] == [
        "instance.frame_table",
        "instance.metadata",
        "non_patient_instance.metadata",
        "removed_instance.frame_table",
        "removed_instance.metadata",
        "removed_non_patient_instance.metadata",
        "series.metadata_dictionary",
    ]


async def test_there_is_one_tenant_to_begin_with(index: Index) -> None:
    assert [tuple(row) for row in await index.fetch("SELECT id, name FROM tenant")] == [
        (1, "default")
    ]


def test_an_empty_database_lacks_every_revision_and_migrating_applies_them_once(
    empty_database_url: str,
) -> None:
    assert pending(empty_database_url) == revisions()
    assert migrate(empty_database_url) == revisions()
    assert pending(empty_database_url) == []
    assert migrate(empty_database_url) == []


def test_two_processes_may_migrate_at_once(empty_database_url: str) -> None:
    program = f"from app.index.migrations import migrate; migrate({empty_database_url!r})"
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert pending(empty_database_url) == []


def test_a_migrated_database_is_recognised_without_importing_alembic(database_url: str) -> None:
    program = (
        "import sys; from app.index.migrations import migrate;"
        f"migrate({database_url!r}); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_index_of_a_newer_version_is_refused(database_url: str) -> None:
    _execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict, match="revision 9999, newer than"):
        pending(database_url)


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        migrate(f"postgresql://fileroom@/fileroom?host={tmp_path}")


def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    _execute(empty_database_url, "CREATE TABLE tally (in_the_way integer)")
    with pytest.raises(Exception, match="already exists"):
        migrate(empty_database_url)
    assert pending(empty_database_url) == revisions()


def test_revisions_are_a_straight_line_and_none_can_be_undone() -> None:
    before: str | None = None
    for path in sorted(migrations_directory().glob("versions/*.py")):
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        assert module.revision == path.name.split("_")[0]
        assert module.down_revision == before
        assert not hasattr(module, "downgrade")
        before = module.revision


def test_migrations_are_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert migrations_directory().name == "alembic"
    shipped = tmp_path / "app" / "_migrations"
    shipped.mkdir(parents=True)
    monkeypatch.setattr(app, "__file__", str(tmp_path / "app" / "__init__.py"))
    assert migrations_directory() == shipped


async def test_the_schema_refuses_the_same_instance_twice(index: Index) -> None:
    async with index.transaction() as session:
        with pytest.raises(Exception, match="tenant_name_key") as raised:
            await session.execute(text("INSERT INTO tenant VALUES (2, 'default')"))
    assert isinstance(raised.value.__cause__, Exception)
    assert asyncpg.UniqueViolationError.__name__ in str(raised.value)
