"""What Alembic runs: `app.index.migrations` opens the connection and gives it over."""

import app.index.audit_tables
import app.index.backup_runs
import app.index.commitment_tables
import app.index.copies_tables
import app.index.identity_tables
import app.index.ingest_tables
import app.index.job_tables
import app.index.label_tables
import app.index.rebuild_tables
import app.index.segment_tables  # noqa: F401 - their tables are of the same metadata
from alembic import context
from app.index import retention_tables, sign_in_tables  # noqa: F401 - of the same metadata
from app.index.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
