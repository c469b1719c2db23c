"""Scopes by labels and patients: what a commitment's caller could see; labels given at ingest."""

from collections.abc import Sequence

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    "ALTER TABLE commitment ADD COLUMN scope JSONB",
    """UPDATE commitment SET scope = jsonb_build_object('studies', to_jsonb(studies))
        WHERE studies IS NOT NULL""",
    "ALTER TABLE commitment DROP COLUMN studies",
    """CREATE TABLE ingest_label_rule (
        id INTEGER GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        label TEXT COLLATE "C" NOT NULL,
        calling_ae TEXT COLLATE "C" DEFAULT '' NOT NULL,
        institution TEXT COLLATE "C" DEFAULT '' NOT NULL,
        sender TEXT COLLATE "C" DEFAULT '' NOT NULL,
        made_by TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT ingest_label_rule_pkey PRIMARY KEY (id),
        CONSTRAINT ingest_label_rule_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id),
        CONSTRAINT ingest_label_rule_once
            UNIQUE (tenant_id, label, calling_ae, institution, sender)
    )""",
)


def upgrade() -> None:
    """Keep what is there, and make the table, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
