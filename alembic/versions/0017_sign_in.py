"""Browser sessions, and tickets for one Study."""

from collections.abc import Sequence

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE web_session (
        digest BYTEA NOT NULL,
        tenant_id INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        kind TEXT COLLATE "C" NOT NULL,
        verbs TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        scope JSONB,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT web_session_pkey PRIMARY KEY (digest),
        CONSTRAINT web_session_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE ticket (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        digest BYTEA NOT NULL,
        study_instance_uid TEXT COLLATE "C" NOT NULL,
        verbs TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        scope JSONB,
        made_by TEXT COLLATE "C" NOT NULL,
        maker_kind TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        revoked_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT ticket_pkey PRIMARY KEY (id),
        CONSTRAINT ticket_digest_key UNIQUE (digest),
        CONSTRAINT ticket_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
)


def upgrade() -> None:
    """Make both tables, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
