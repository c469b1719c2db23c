"""The table of rules that put labels on Studies as they come in."""

from sqlalchemy import Column, Identity, Integer, Table, UniqueConstraint

from app.index import columns
from app.index.tables import metadata

# '' is any; a rule has one condition at least
ingest_label_rule = Table(
    "ingest_label_rule",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    columns.tenant(),
    columns.named("label"),
    columns.text("calling_ae"),
    columns.text("institution"),
    columns.text("sender"),
    columns.named("made_by"),
    columns.now("made_at"),
    UniqueConstraint(
        "tenant_id",
        "label",
        "calling_ae",
        "institution",
        "sender",
        name="ingest_label_rule_once",
    ),
)
