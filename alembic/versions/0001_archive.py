"""The archive: patients, studies, series, instances, what was removed, and the log of events.

Storage, which `app.index.tables` does not know: a packed frame table is kept uncompressed so that
`substring` reads only a slice of it, and what zstd has packed is not packed again. Rows of `study`
and `series` are written again with each stored batch, so their pages keep room for that.
"""

from collections.abc import Sequence

from alembic import op

revision = "0001"
down_revision = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

EXTENSIONS = ("pg_trgm", "fuzzystrmatch")

TABLES = (
    """CREATE TABLE tenant (
        id INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        CONSTRAINT tenant_pkey PRIMARY KEY (id),
        CONSTRAINT tenant_name_key UNIQUE (name)
    )""",
    """CREATE TABLE patient (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        patient_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        issuer_of_patient_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        number_of_studies INTEGER DEFAULT 0 NOT NULL,
        CONSTRAINT patient_pkey PRIMARY KEY (id),
        CONSTRAINT patient_tenant_id_patient_id_issuer_of_patient_id_key
            UNIQUE (tenant_id, patient_id, issuer_of_patient_id),
        CONSTRAINT patient_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE study (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        patient_key BIGINT NOT NULL,
        study_instance_uid TEXT COLLATE "C" NOT NULL,
        patient_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        issuer_of_patient_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        patient_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        patient_birth_date TEXT COLLATE "C" DEFAULT '' NOT NULL,
        patient_sex TEXT COLLATE "C" DEFAULT '' NOT NULL,
        study_date TEXT COLLATE "C" DEFAULT '' NOT NULL,
        study_time TEXT COLLATE "C" DEFAULT '' NOT NULL,
        accession_number TEXT COLLATE "C" DEFAULT '' NOT NULL,
        study_id TEXT COLLATE "C" DEFAULT '' NOT NULL,
        study_description TEXT COLLATE "C" DEFAULT '' NOT NULL,
        referring_physician_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        timezone_offset_from_utc TEXT COLLATE "C" DEFAULT '' NOT NULL,
        modalities TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        sop_classes TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        number_of_series INTEGER DEFAULT 0 NOT NULL,
        number_of_instances INTEGER DEFAULT 0 NOT NULL,
        size BIGINT DEFAULT 0 NOT NULL,
        document TEXT COLLATE "C" NOT NULL,
        extra TEXT COLLATE "C" DEFAULT '' NOT NULL,
        conflicts JSONB,
        version BIGINT DEFAULT '1' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT study_pkey PRIMARY KEY (id),
        CONSTRAINT study_tenant_id_study_instance_uid_key UNIQUE (tenant_id, study_instance_uid),
        CONSTRAINT study_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id),
        CONSTRAINT study_patient_key_fkey FOREIGN KEY (patient_key) REFERENCES patient (id)
    ) WITH (fillfactor = 60)""",
    """CREATE TABLE series (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        study_key BIGINT NOT NULL,
        series_instance_uid TEXT COLLATE "C" NOT NULL,
        modality TEXT COLLATE "C" DEFAULT '' NOT NULL,
        series_number BIGINT,
        series_date TEXT COLLATE "C" DEFAULT '' NOT NULL,
        series_time TEXT COLLATE "C" DEFAULT '' NOT NULL,
        series_description TEXT COLLATE "C" DEFAULT '' NOT NULL,
        body_part_examined TEXT COLLATE "C" DEFAULT '' NOT NULL,
        manufacturer TEXT COLLATE "C" DEFAULT '' NOT NULL,
        manufacturer_model_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        station_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        institution_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
        performed_procedure_step_start_date TEXT COLLATE "C" DEFAULT '' NOT NULL,
        performed_procedure_step_start_time TEXT COLLATE "C" DEFAULT '' NOT NULL,
        scheduled_procedure_step_ids TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        requested_procedure_ids TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        sop_classes TEXT[] COLLATE "C" DEFAULT '{}' NOT NULL,
        number_of_instances INTEGER DEFAULT 0 NOT NULL,
        document TEXT COLLATE "C" NOT NULL,
        extra TEXT COLLATE "C" DEFAULT '' NOT NULL,
        conflicts JSONB,
        metadata_dictionary BYTEA NOT NULL,
        version BIGINT DEFAULT '1' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT series_pkey PRIMARY KEY (id),
        CONSTRAINT series_tenant_id_study_key_series_instance_uid_key
            UNIQUE (tenant_id, study_key, series_instance_uid),
        CONSTRAINT series_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id),
        CONSTRAINT series_study_key_fkey FOREIGN KEY (study_key) REFERENCES study (id)
    ) WITH (fillfactor = 70)""",
    """CREATE TABLE instance (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        study_key BIGINT NOT NULL,
        series_key BIGINT NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        sop_class_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        instance_number BIGINT,
        rows INTEGER,
        columns INTEGER,
        bits_allocated INTEGER,
        number_of_frames INTEGER,
        transfer_syntax_uid TEXT COLLATE "C" NOT NULL,
        object_key TEXT COLLATE "C" NOT NULL,
        base_offset BIGINT DEFAULT 0 NOT NULL,
        size BIGINT NOT NULL,
        sha256 BYTEA NOT NULL,
        dataset_sha256 BYTEA NOT NULL,
        dataset_offset INTEGER NOT NULL,
        frame_kind SMALLINT DEFAULT 0 NOT NULL,
        frame_count INTEGER DEFAULT 0 NOT NULL,
        frame_offset BIGINT DEFAULT 0 NOT NULL,
        frame_length BIGINT DEFAULT 0 NOT NULL,
        frame_table BYTEA,
        bulk_values TEXT COLLATE "C" DEFAULT '' NOT NULL,
        metadata BYTEA NOT NULL,
        derived_version SMALLINT NOT NULL,
        stored_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT instance_pkey PRIMARY KEY (id),
        CONSTRAINT instance_tenant_id_sop_instance_uid_key UNIQUE (tenant_id, sop_instance_uid),
        CONSTRAINT instance_study_key_fkey FOREIGN KEY (study_key) REFERENCES study (id),
        CONSTRAINT instance_series_key_fkey FOREIGN KEY (series_key) REFERENCES series (id)
    )""",
    """CREATE TABLE removed_instance (
        id BIGINT NOT NULL,
        tenant_id INTEGER NOT NULL,
        study_instance_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        series_instance_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        sop_instance_uid TEXT COLLATE "C" NOT NULL,
        sop_class_uid TEXT COLLATE "C" DEFAULT '' NOT NULL,
        instance_number BIGINT,
        rows INTEGER,
        columns INTEGER,
        bits_allocated INTEGER,
        number_of_frames INTEGER,
        transfer_syntax_uid TEXT COLLATE "C" NOT NULL,
        object_key TEXT COLLATE "C" NOT NULL,
        base_offset BIGINT DEFAULT 0 NOT NULL,
        size BIGINT NOT NULL,
        sha256 BYTEA NOT NULL,
        dataset_sha256 BYTEA NOT NULL,
        dataset_offset INTEGER NOT NULL,
        frame_kind SMALLINT DEFAULT 0 NOT NULL,
        frame_count INTEGER DEFAULT 0 NOT NULL,
        frame_offset BIGINT DEFAULT 0 NOT NULL,
        frame_length BIGINT DEFAULT 0 NOT NULL,
        frame_table BYTEA,
        bulk_values TEXT COLLATE "C" DEFAULT '' NOT NULL,
        metadata BYTEA NOT NULL,
        derived_version SMALLINT NOT NULL,
        stored_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        reason TEXT COLLATE "C" NOT NULL,
        event_id BIGINT NOT NULL,
        removed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT removed_instance_pkey PRIMARY KEY (id),
        CONSTRAINT removed_instance_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE event (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
        at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        kind TEXT COLLATE "C" NOT NULL,
        actor TEXT COLLATE "C" NOT NULL,
        payload JSONB NOT NULL,
        CONSTRAINT event_pkey PRIMARY KEY (id),
        CONSTRAINT event_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE tally (
        tenant_id INTEGER NOT NULL,
        slot SMALLINT NOT NULL,
        studies BIGINT DEFAULT 0 NOT NULL,
        series BIGINT DEFAULT 0 NOT NULL,
        instances BIGINT DEFAULT 0 NOT NULL,
        bytes BIGINT DEFAULT 0 NOT NULL,
        CONSTRAINT tally_pkey PRIMARY KEY (tenant_id, slot),
        CONSTRAINT tally_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    ) WITH (fillfactor = 20)""",
)

STORAGE = (
    "ALTER TABLE series ALTER metadata_dictionary SET STORAGE EXTERNAL",
    "ALTER TABLE instance ALTER frame_table SET STORAGE EXTERNAL",
    "ALTER TABLE instance ALTER metadata SET STORAGE EXTERNAL",
    "ALTER TABLE removed_instance ALTER frame_table SET STORAGE EXTERNAL",
    "ALTER TABLE removed_instance ALTER metadata SET STORAGE EXTERNAL",
)

INDEXES = (
    "CREATE INDEX study_accession_number ON study (tenant_id, accession_number)",
    "CREATE INDEX study_modalities ON study USING gin (modalities)",
    """CREATE INDEX study_names ON study USING gin (
        patient_name gin_trgm_ops,
        referring_physician_name gin_trgm_ops
    )""",
    "CREATE INDEX series_uid ON series (tenant_id, series_instance_uid)",
    """CREATE INDEX study_newest ON study
        (tenant_id, study_date DESC, study_time DESC, study_instance_uid)
        INCLUDE (id, patient_name)""",
    "CREATE INDEX study_patient_id ON study (tenant_id, patient_id)",
    "CREATE INDEX study_patient_key_idx ON study (patient_key)",
    """CREATE INDEX study_texts ON study USING gin (
        patient_id gin_trgm_ops,
        accession_number gin_trgm_ops,
        study_id gin_trgm_ops,
        study_description gin_trgm_ops
    )""",
    "CREATE INDEX instance_series ON instance (series_key, instance_number)",
    "CREATE INDEX instance_study ON instance (study_key)",
    "CREATE INDEX removed_instance_uid ON removed_instance (tenant_id, sop_instance_uid)",
    "CREATE INDEX event_order ON event (xid, id)",
)


def upgrade() -> None:
    """Make everything; there is no way back."""
    for name in EXTENSIONS:
        op.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
    for statement in (*TABLES, *STORAGE, *INDEXES):
        op.execute(statement)
    op.execute("INSERT INTO tenant (id, name) VALUES (1, 'default')")
