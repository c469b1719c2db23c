"""Copies, repairs and the scrubber."""

from collections.abc import Sequence

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TABLES = (
    """CREATE TABLE copy_task (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        kind TEXT COLLATE "C" NOT NULL,
        store TEXT COLLATE "C" NOT NULL,
        object_key TEXT COLLATE "C" NOT NULL,
        queued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        tries INTEGER DEFAULT 0 NOT NULL,
        next_try TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_error TEXT COLLATE "C" DEFAULT '' NOT NULL,
        CONSTRAINT copy_task_pkey PRIMARY KEY (id),
        CONSTRAINT copy_task_store_object_key_kind_key UNIQUE (store, object_key, kind)
    )""",
    "CREATE INDEX copy_task_next ON copy_task (store, next_try)",
    """CREATE TABLE finding (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        store TEXT COLLATE "C" DEFAULT '' NOT NULL,
        object_key TEXT COLLATE "C" NOT NULL,
        study_instance_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        state TEXT COLLATE "C" NOT NULL,
        detail TEXT COLLATE "C" DEFAULT '' NOT NULL,
        since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT finding_pkey PRIMARY KEY (id),
        CONSTRAINT finding_object_key_store_key UNIQUE (object_key, store)
    )""",
    "CREATE INDEX finding_uid ON finding (tenant_id, sop_instance_uid)",
    """CREATE TABLE scrubbed_store (
        name TEXT COLLATE "C" NOT NULL,
        filled BOOLEAN DEFAULT false NOT NULL,
        table_number SMALLINT DEFAULT 0 NOT NULL,
        last_key BIGINT DEFAULT 0 NOT NULL,
        began_at TIMESTAMP WITH TIME ZONE,
        finished_at TIMESTAMP WITH TIME ZONE,
        verified_from TIMESTAMP WITH TIME ZONE,
        worker TEXT COLLATE "C" DEFAULT '' NOT NULL,
        leased_until TIMESTAMP WITH TIME ZONE,
        CONSTRAINT scrubbed_store_pkey PRIMARY KEY (name)
    )""",
)
QUEUE = """
CREATE FUNCTION queue_copies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO copy_task (kind, store, object_key)
    SELECT 'copy', store, NEW.object_key
    FROM unnest(string_to_array(current_setting('fileroom.copies'), ',')) AS store
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
"""
# without copies that are filled later the condition is all that a row costs
WHEN = """
WHEN (current_setting('fileroom.copies', true) <> ''
    AND NOT starts_with(NEW.object_key, 'quarantine/'))
EXECUTE FUNCTION queue_copies()
"""
OCCASIONS = (
    ("instance", "INSERT OR UPDATE OF object_key"),
    ("non_patient_instance", "INSERT OR UPDATE OF object_key"),
    ("removed_instance", "UPDATE OF object_key"),
    ("removed_non_patient_instance", "UPDATE OF object_key"),
)


def upgrade() -> None:
    """Make the tables, empty, and have the copies of new rows queued."""
    for statement in (*TABLES, QUEUE):
        op.execute(statement)
    for table, occasion in OCCASIONS:
        op.execute(f"CREATE TRIGGER queue_copies AFTER {occasion} ON {table} FOR EACH ROW {WHEN}")
