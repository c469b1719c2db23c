"""How long things stay: legal holds, retention rules, who does upkeep, and what was swept."""

from collections.abc import Sequence

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE hold (
        tenant_id INTEGER NOT NULL,
        study_instance_uid TEXT COLLATE "C" NOT NULL,
        reason TEXT COLLATE "C" NOT NULL,
        held_by TEXT COLLATE "C" NOT NULL,
        held_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT hold_pkey PRIMARY KEY (tenant_id, study_instance_uid),
        CONSTRAINT hold_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE retention_rule (
        id INTEGER GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        action TEXT COLLATE "C" NOT NULL,
        days INTEGER NOT NULL,
        counted_from TEXT COLLATE "C" NOT NULL,
        modalities TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        stations TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        institutions TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        made_by TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        activated_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT retention_rule_pkey PRIMARY KEY (id),
        CONSTRAINT retention_rule_tenant_id_name_key UNIQUE (tenant_id, name),
        CONSTRAINT retention_rule_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE upkeep (
        name TEXT COLLATE "C" NOT NULL,
        holder TEXT COLLATE "C" NOT NULL,
        held_until TIMESTAMP WITH TIME ZONE NOT NULL,
        done_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT upkeep_pkey PRIMARY KEY (name)
    )""",
    """CREATE TABLE swept_object (
        object_key TEXT COLLATE "C" NOT NULL,
        tenant_id INTEGER NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        swept_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT swept_object_pkey PRIMARY KEY (object_key)
    )""",
    """CREATE INDEX swept_object_uid ON swept_object (tenant_id, sop_instance_uid)""",
    """CREATE TABLE running_store (
        process TEXT COLLATE "C" NOT NULL,
        since TIMESTAMP WITH TIME ZONE NOT NULL,
        told_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT running_store_pkey PRIMARY KEY (process)
    )""",
    """CREATE INDEX removed_instance_deleted ON removed_instance (removed_at, id)
        INCLUDE (size) WHERE reason = 'deleted'""",
    """CREATE INDEX removed_non_patient_instance_deleted ON removed_non_patient_instance
        (removed_at, id) INCLUDE (size)""",
)


def upgrade() -> None:
    """Make the tables, empty, and find what was deleted by when it was."""
    for statement in STATEMENTS:
        op.execute(statement)
