"""Studies that somebody has opened in an emergency, beyond what they may see."""

from collections.abc import Sequence

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

EMERGENCY_OVERRIDE = """
CREATE TABLE emergency_override (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant_id INTEGER NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    study_instance_uid TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT emergency_override_pkey PRIMARY KEY (id),
    CONSTRAINT emergency_override_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
)
"""
OF_WHOM = """
CREATE INDEX emergency_override_of ON emergency_override (tenant_id, name, kind)
    WHERE ended_at IS NULL
"""


def upgrade() -> None:
    """Make the table, empty."""
    op.execute(EMERGENCY_OVERRIDE)
    op.execute(OF_WHOM)
