"""Instances of no Patient have tables of their own (PS3.18 §12): they are in no Study."""

from collections.abc import Sequence

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

COLUMNS = """
    tenant_id INTEGER NOT NULL,
    sop_instance_uid TEXT COLLATE "C" NOT NULL,
    sop_class_uid TEXT COLLATE "C" NOT NULL,
    transfer_syntax_uid TEXT COLLATE "C" NOT NULL,
    object_key TEXT COLLATE "C" NOT NULL,
    base_offset BIGINT DEFAULT 0 NOT NULL,
    size BIGINT NOT NULL,
    sha256 BYTEA NOT NULL,
    dataset_sha256 BYTEA NOT NULL,
    dataset_offset INTEGER NOT NULL,
    bulk_values TEXT COLLATE "C" DEFAULT '' NOT NULL,
    metadata BYTEA NOT NULL,
    derived_version SMALLINT NOT NULL,
    stored_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL
"""
TABLES = (
    f"""CREATE TABLE non_patient_instance (
        id BIGINT GENERATED ALWAYS AS IDENTITY, {COLUMNS},
        CONSTRAINT non_patient_instance_pkey PRIMARY KEY (id),
        CONSTRAINT non_patient_instance_tenant_id_sop_instance_uid_key
            UNIQUE (tenant_id, sop_instance_uid),
        CONSTRAINT non_patient_instance_tenant_id_fkey
            FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    f"""CREATE TABLE removed_non_patient_instance (
        id BIGINT NOT NULL, {COLUMNS},
        event_id BIGINT NOT NULL,
        removed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT removed_non_patient_instance_pkey PRIMARY KEY (id),
        CONSTRAINT removed_non_patient_instance_tenant_id_fkey
            FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
)
STORAGE = (  # what zstd has packed is not packed again
    "ALTER TABLE non_patient_instance ALTER metadata SET STORAGE EXTERNAL",
    "ALTER TABLE removed_non_patient_instance ALTER metadata SET STORAGE EXTERNAL",
)
INDEXES = (
    """CREATE INDEX non_patient_instance_class ON non_patient_instance
        (tenant_id, sop_class_uid)""",
    """CREATE INDEX removed_non_patient_instance_uid ON removed_non_patient_instance
        (tenant_id, sop_instance_uid)""",
)


def upgrade() -> None:
    """Make the tables; there is no way back."""
    for statement in (*TABLES, *STORAGE, *INDEXES):
        op.execute(statement)
