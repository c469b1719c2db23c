"""The table of labels: a row for each label of a Study, whether the Study has a row or not."""

from sqlalchemy import Column, Index, Table

from app.index import columns
from app.index.columns import C_TEXT
from app.index.tables import metadata

study_label = Table(
    "study_label",
    metadata,
    columns.tenant(key=True),
    Column("study_instance_uid", C_TEXT, primary_key=True),
    Column("label", C_TEXT, primary_key=True),
)
Index(
    "study_label_label",
    study_label.c.tenant_id,
    study_label.c.label,
    study_label.c.study_instance_uid,
)
