"""Forwarding: destinations, rules, and what waits."""

from collections.abc import Sequence

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE destination (
        id INTEGER GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        ae_title TEXT COLLATE "C" NOT NULL,
        host TEXT COLLATE "C" NOT NULL,
        port INTEGER NOT NULL,
        tls BOOLEAN DEFAULT false NOT NULL,
        made_by TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT destination_pkey PRIMARY KEY (id),
        CONSTRAINT destination_tenant_id_ae_title_key UNIQUE (tenant_id, ae_title),
        CONSTRAINT destination_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE forwarding_rule (
        id INTEGER GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        destination_id INTEGER NOT NULL,
        sources TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        modalities TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        sop_classes TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        made_by TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT forwarding_rule_pkey PRIMARY KEY (id),
        CONSTRAINT forwarding_rule_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id),
        CONSTRAINT forwarding_rule_destination_id_fkey FOREIGN KEY (destination_id)
            REFERENCES destination (id)
    )""",
    "CREATE INDEX forwarding_rule_tenant ON forwarding_rule (tenant_id)",
    """CREATE TABLE forwarding (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        destination_id INTEGER NOT NULL,
        instance_key BIGINT NOT NULL,
        claim TEXT COLLATE "C" DEFAULT '' NOT NULL,
        tries INTEGER DEFAULT 0 NOT NULL,
        dead BOOLEAN DEFAULT false NOT NULL,
        reason TEXT COLLATE "C" DEFAULT '' NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT forwarding_pkey PRIMARY KEY (id),
        CONSTRAINT forwarding_destination_id_instance_key_key
            UNIQUE (destination_id, instance_key),
        CONSTRAINT forwarding_destination_id_fkey FOREIGN KEY (destination_id)
            REFERENCES destination (id)
    )""",
    "CREATE INDEX forwarding_due ON forwarding (destination_id, due_at, id) WHERE NOT dead",
    "CREATE INDEX forwarding_claim ON forwarding (claim) WHERE claim <> ''",
    "CREATE INDEX forwarding_order ON forwarding (tenant_id, id)",
)


def upgrade() -> None:
    """Make the tables, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
