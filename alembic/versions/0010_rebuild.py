"""What an index that is made anew learns from the log before it has rows."""

from collections.abc import Sequence

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE rebuild (
        tenant_id INTEGER NOT NULL,
        segment BIGINT NOT NULL,
        sealed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        applied BIGINT DEFAULT 0 NOT NULL,
        CONSTRAINT rebuild_pkey PRIMARY KEY (tenant_id)
    )""",
    """CREATE TABLE rebuild_item (
        tenant_id INTEGER NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        attempt TEXT COLLATE "C" NOT NULL,
        study TEXT COLLATE "C" NOT NULL,
        series TEXT COLLATE "C" NOT NULL,
        category TEXT COLLATE "C" NOT NULL,
        sha256 BYTEA NOT NULL,
        state TEXT COLLATE "C" NOT NULL,
        ordinal BIGINT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        event_id BIGINT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        done BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT rebuild_item_pkey PRIMARY KEY (tenant_id, sop_instance_uid, attempt)
    )""",
    """CREATE INDEX rebuild_item_next ON rebuild_item (ordinal, sop_instance_uid) WHERE NOT done""",
)


def upgrade() -> None:
    """Make the tables, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
