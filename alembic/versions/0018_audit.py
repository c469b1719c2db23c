"""Who saw a Study: events about it are found by an index. How far audit repositories were told."""

from collections.abc import Sequence

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

EVENT_OF_STUDY = """
CREATE INDEX event_of_study ON event ((payload->>'study'), xid, id) WHERE kind <> 'accepted'
"""
AUDIT_COLLECTOR = """
CREATE TABLE audit_collector (
    address TEXT COLLATE "C" NOT NULL,
    after_transaction BIGINT NOT NULL,
    after_number BIGINT NOT NULL,
    CONSTRAINT audit_collector_pkey PRIMARY KEY (address)
)
"""


def upgrade() -> None:
    """Make the index; `accepted` is left out, so that storing costs what it did."""
    op.execute(EVENT_OF_STUDY)
    op.execute(AUDIT_COLLECTOR)
