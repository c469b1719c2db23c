"""When backups and drills were made; and a log that goes on in another cluster.

Transaction ids begin anew in each cluster of PostgreSQL. Positions in the log must not, so both its
default and its horizon are functions, which `app.index.log_offset` makes anew where an index has
moved.
"""

from collections.abc import Sequence

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE FUNCTION event_transaction() RETURNS xid8 LANGUAGE sql VOLATILE
        AS 'SELECT pg_current_xact_id()'""",
    """CREATE FUNCTION event_horizon() RETURNS xid8 LANGUAGE sql VOLATILE
        AS 'SELECT pg_snapshot_xmin(pg_current_snapshot())'""",
    "ALTER TABLE event ALTER COLUMN xid SET DEFAULT event_transaction()",
    """CREATE TABLE backup_run (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        kind TEXT COLLATE "C" NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        place TEXT COLLATE "C" NOT NULL,
        good BOOLEAN NOT NULL,
        detail JSONB NOT NULL,
        CONSTRAINT backup_run_pkey PRIMARY KEY (id)
    )""",
)


def upgrade() -> None:
    """Make the functions, and the table, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
