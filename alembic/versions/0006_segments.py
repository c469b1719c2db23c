"""The log is sealed: its segments, the keys that sign them, and events by their time."""

from collections.abc import Sequence

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE segment (
        tenant_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        first_transaction BIGINT NOT NULL,
        first_number BIGINT NOT NULL,
        last_transaction BIGINT NOT NULL,
        last_number BIGINT NOT NULL,
        entries INTEGER NOT NULL,
        root BYTEA NOT NULL,
        hash BYTEA NOT NULL,
        sealed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        next_key INTEGER NOT NULL,
        object_key TEXT COLLATE "C" NOT NULL,
        CONSTRAINT segment_pkey PRIMARY KEY (tenant_id, number),
        CONSTRAINT segment_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE seal_key (
        tenant_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        public_key BYTEA NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT seal_key_pkey PRIMARY KEY (tenant_id, number),
        CONSTRAINT seal_key_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE UNIQUE INDEX segment_last ON segment
        (tenant_id, last_transaction, last_number)""",
    "CREATE INDEX segment_sealed ON segment (tenant_id, sealed_at)",
    "CREATE INDEX event_at ON event (at)",
)


def upgrade() -> None:
    """Make the tables, empty: what the log has already is sealed as anything else."""
    for statement in STATEMENTS:
        op.execute(statement)
