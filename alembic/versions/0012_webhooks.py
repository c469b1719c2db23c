"""Webhooks: who is told of events, and how far each was told."""

from collections.abc import Sequence

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

WEBHOOK = """
CREATE TABLE webhook (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    tenant_id INTEGER NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    kinds TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
    secret TEXT COLLATE "C" NOT NULL,
    made_by TEXT COLLATE "C" NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    after_transaction BIGINT NOT NULL,
    after_number BIGINT NOT NULL,
    job_id BIGINT,
    delivered_at TIMESTAMP WITH TIME ZONE,
    disabled TEXT COLLATE "C" DEFAULT '' NOT NULL,
    CONSTRAINT webhook_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_tenant_id_url_key UNIQUE (tenant_id, url),
    CONSTRAINT webhook_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
)
"""


def upgrade() -> None:
    """Make the table, empty."""
    op.execute(WEBHOOK)
