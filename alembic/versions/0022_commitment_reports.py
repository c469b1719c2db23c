"""Storage commitments that a bridge asked for: for which AE, and when it was told."""

from collections.abc import Sequence

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """ALTER TABLE commitment
        ADD COLUMN ae_title TEXT COLLATE "C" DEFAULT '' NOT NULL,
        ADD COLUMN reported_at TIMESTAMP WITH TIME ZONE""",
    """CREATE INDEX commitment_unreported ON commitment (tenant_id, id)
        WHERE ae_title <> '' AND reported_at IS NULL""",
)


def upgrade() -> None:
    """Add the columns: nobody asked for an AE so far."""
    for statement in STATEMENTS:
        op.execute(statement)
