"""The tables of procedure steps: those that are scheduled, and those that are performed.

`document` is the Data Set as DICOM JSON in UTF-8; the columns beside it are what searches of the
worklist compare, folded as those of Studies are (`tables`). The `status` of a scheduled step is
that of its row: performed steps change it.
"""

from sqlalchemy import Index, Table, UniqueConstraint

from app.dicom.scheduled_step import OVER
from app.index import columns
from app.index.tables import metadata

scheduled_step = Table(
    "scheduled_step",
    metadata,
    columns.key(),
    columns.tenant(),
    columns.named("study_instance_uid"),
    columns.named("step_id"),
    columns.named("status"),
    columns.named("start_date"),
    columns.named("start_time"),
    columns.texts("station_ae_titles"),
    columns.text("modality"),
    columns.text("performing_physician_name"),
    columns.text("patient_name"),
    columns.text("patient_id"),
    columns.text("accession_number"),
    columns.text("requested_procedure_id"),
    columns.named("document"),
    columns.now("made_at"),
    columns.now("changed_at"),
    UniqueConstraint("tenant_id", "study_instance_uid", "step_id"),
)

performed_step = Table(
    "performed_step",
    metadata,
    columns.key(),
    columns.tenant(),
    columns.named("sop_instance_uid"),
    columns.named("status"),
    columns.texts("studies"),
    columns.named("document"),
    columns.now("made_at"),
    columns.now("changed_at"),
    UniqueConstraint("tenant_id", "sop_instance_uid"),
)

Index(
    "scheduled_step_start",
    scheduled_step.c.tenant_id,
    scheduled_step.c.start_date,
    scheduled_step.c.start_time,
    scheduled_step.c.id,
)
Index(
    "scheduled_step_open",  # however many are over
    scheduled_step.c.tenant_id,
    scheduled_step.c.start_date,
    scheduled_step.c.start_time,
    scheduled_step.c.id,
    postgresql_where=scheduled_step.c.status.not_in(OVER),
)
Index("scheduled_step_patient_id", scheduled_step.c.tenant_id, scheduled_step.c.patient_id)
Index(
    "scheduled_step_accession_number",
    scheduled_step.c.tenant_id,
    scheduled_step.c.accession_number,
)
