"""API keys, local users, and wrong passwords of the last minute."""

from collections.abc import Sequence

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE api_key (
        id TEXT COLLATE "C" NOT NULL,
        tenant_id INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        digest BYTEA NOT NULL,
        roles TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        labels TEXT[] COLLATE "C",
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        created_by TEXT COLLATE "C" NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE,
        revoked_at TIMESTAMP WITH TIME ZONE,
        last_used_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT api_key_pkey PRIMARY KEY (id),
        CONSTRAINT api_key_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    "CREATE UNIQUE INDEX api_key_name ON api_key (tenant_id, name) WHERE revoked_at IS NULL",
    """CREATE TABLE local_user (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        password TEXT COLLATE "C" NOT NULL,
        roles TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        labels TEXT[] COLLATE "C",
        disabled BOOLEAN DEFAULT false NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        created_by TEXT COLLATE "C" NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT local_user_pkey PRIMARY KEY (id),
        CONSTRAINT local_user_name_key UNIQUE (name),
        CONSTRAINT local_user_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE failed_login (
        who BYTEA NOT NULL,
        failures INTEGER DEFAULT 0 NOT NULL,
        since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT failed_login_pkey PRIMARY KEY (who)
    )""",
    "CREATE INDEX failed_login_since ON failed_login (since)",
)


def upgrade() -> None:
    """Make the tables, empty: nobody is known until an operator says so."""
    for statement in STATEMENTS:
        op.execute(statement)
