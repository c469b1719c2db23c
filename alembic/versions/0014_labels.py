"""Labels on Studies, and what was chosen for the index as facts in the log."""

from collections.abc import Sequence

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE study_label (
        tenant_id INTEGER NOT NULL,
        study_instance_uid TEXT COLLATE "C" NOT NULL,
        label TEXT COLLATE "C" NOT NULL,
        CONSTRAINT study_label_pkey PRIMARY KEY (tenant_id, study_instance_uid, label),
        CONSTRAINT study_label_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    "CREATE INDEX study_label_label ON study_label (tenant_id, label, study_instance_uid)",
    """ALTER TABLE retention_rule
        ADD COLUMN labels TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL""",
)
TELL_OF_TAGS = """
INSERT INTO event (tenant_id, kind, actor, payload)
SELECT tenant_id, 'tag-chosen', 'fileroom migrate',
    jsonb_build_object('tag', jsonb_build_object('name', name, 'level', level, 'vr', vr))
FROM indexed_attribute WHERE state <> 'leaving' ORDER BY id
"""


def upgrade() -> None:
    """Make the table, empty; log what was chosen so far, so that a rebuild knows of it."""
    for statement in (*STATEMENTS, TELL_OF_TAGS):
        op.execute(statement)
