"""When backups and drills were made."""

from collections.abc import Sequence

from alembic import op

revision = "0009"
down_revision = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
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
    """Make the table, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
