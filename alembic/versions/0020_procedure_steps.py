"""Scheduled and performed procedure steps."""

from collections.abc import Sequence

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE scheduled_step (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        study_instance_uid TEXT COLLATE "C" NOT NULL,
        step_id TEXT COLLATE "C" NOT NULL,
        status TEXT COLLATE "C" NOT NULL,
        start_date TEXT COLLATE "C" NOT NULL,
        start_time TEXT COLLATE "C" NOT NULL,
        station_ae_titles TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        modality TEXT COLLATE "C" DEFAULT '' NOT NULL,
        performing_physician_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        patient_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        patient_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        accession_number TEXT COLLATE "C" DEFAULT '' NOT NULL,
        requested_procedure_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        document TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT scheduled_step_pkey PRIMARY KEY (id),
        CONSTRAINT scheduled_step_tenant_id_study_instance_uid_step_id_key
            UNIQUE (tenant_id, study_instance_uid, step_id),
        CONSTRAINT scheduled_step_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    "CREATE INDEX scheduled_step_start ON scheduled_step (tenant_id, start_date, start_time, id)",
    """CREATE INDEX scheduled_step_open
        ON scheduled_step (tenant_id, start_date, start_time, id)
        WHERE status NOT IN ('COMPLETED', 'DISCONTINUED', 'CANCELED', 'CANCELLED', 'DEPARTED')""",
    "CREATE INDEX scheduled_step_patient_id ON scheduled_step (tenant_id, patient_id)",
    """CREATE INDEX scheduled_step_accession_number
        ON scheduled_step (tenant_id, accession_number)""",
    """CREATE TABLE performed_step (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        status TEXT COLLATE "C" NOT NULL,
        studies TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        document TEXT COLLATE "C" NOT NULL,
        made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT performed_step_pkey PRIMARY KEY (id),
        CONSTRAINT performed_step_tenant_id_sop_instance_uid_key
            UNIQUE (tenant_id, sop_instance_uid),
        CONSTRAINT performed_step_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
)


def upgrade() -> None:
    """Make the tables, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
