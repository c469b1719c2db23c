"""What was removed is found by its Study: for 410, and to bring rejected Instances back."""

from collections.abc import Sequence

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the index. The table is small: nothing could be removed before this version."""
    op.execute(
        "CREATE INDEX removed_instance_study ON removed_instance"
        " (tenant_id, study_instance_uid, series_instance_uid)"
    )
