"""Storage commitments: what was asked, and what came of it."""

from collections.abc import Sequence

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE commitment (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        transaction_uid TEXT COLLATE "C" NOT NULL,
        asked_by TEXT COLLATE "C" NOT NULL,
        studies TEXT[] COLLATE "C",
        requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        holder TEXT COLLATE "C" DEFAULT '' NOT NULL,
        held_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        tries INTEGER DEFAULT 0 NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        result TEXT COLLATE "C" DEFAULT '' NOT NULL,
        CONSTRAINT commitment_pkey PRIMARY KEY (id),
        CONSTRAINT commitment_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id),
        CONSTRAINT commitment_tenant_id_transaction_uid_key
            UNIQUE (tenant_id, transaction_uid)
    )""",
    """CREATE TABLE commitment_item (
        commitment_id BIGINT NOT NULL,
        number INTEGER NOT NULL,
        sop_class_uid TEXT COLLATE "C" NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        study_instance_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        series_instance_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        reason SMALLINT,
        object_key TEXT COLLATE "C" DEFAULT '' NOT NULL,
        CONSTRAINT commitment_item_pkey PRIMARY KEY (commitment_id, number),
        CONSTRAINT commitment_item_commitment_id_fkey FOREIGN KEY (commitment_id)
            REFERENCES commitment (id) ON DELETE CASCADE
    )""",
    "CREATE INDEX commitment_working ON commitment (held_until) WHERE finished_at IS NULL",
    "CREATE INDEX commitment_finished ON commitment (finished_at)",
)


def upgrade() -> None:
    """Make the tables, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
