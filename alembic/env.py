"""What Alembic runs: `app.index.migrations` opens the connection and gives it over."""

import app.index.copies_tables  # noqa: F401 - its tables, too
from alembic import context
from app.index.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
