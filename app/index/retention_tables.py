"""The tables of how long things stay: holds, retention rules, upkeep and sweeping."""

from sqlalchemy import (
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from app.index import columns
from app.index.columns import C_TEXT
from app.index.tables import (
    metadata,
    removed_instance,
    removed_non_patient_instance,
)

# a Study that stays, whether its rows are live or removed
hold = Table(
    "hold",
    metadata,
    columns.tenant(key=True),
    Column("study_instance_uid", C_TEXT, primary_key=True),
    columns.named("reason"),
    columns.named("held_by"),
    columns.now("held_at"),
)

# a draft until `activated_at`; an empty array is any value
retention_rule = Table(
    "retention_rule",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    columns.tenant(),
    columns.named("name"),
    columns.named("action"),
    Column("days", Integer, nullable=False),
    columns.named("counted_from"),
    columns.texts("modalities"),
    columns.texts("stations"),
    columns.texts("institutions"),
    columns.texts("labels"),
    columns.named("made_by"),
    columns.now("made_at"),
    Column("activated_at", DateTime(timezone=True)),
    UniqueConstraint("tenant_id", "name"),
)

# work that one process does for all: who is at it until when, and when it was done last
upkeep = Table(
    "upkeep",
    metadata,
    Column("name", C_TEXT, primary_key=True),
    columns.named("holder"),
    Column("held_until", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
)

# keys that no row may name any more
swept_object = Table(
    "swept_object",
    metadata,
    Column("object_key", C_TEXT, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    columns.named("sop_instance_uid"),
    columns.now("swept_at"),
)

# processes that have been storing for long: objects made `since` may get a row yet
running_store = Table(
    "running_store",
    metadata,
    Column("process", C_TEXT, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False),
    columns.now("told_at"),
)

Index("swept_object_uid", swept_object.c.tenant_id, swept_object.c.sop_instance_uid)
Index(
    "removed_instance_deleted",
    removed_instance.c.removed_at,
    removed_instance.c.id,
    postgresql_include=["size"],
    postgresql_where=text("reason = 'deleted'"),
)
Index(
    "removed_non_patient_instance_deleted",
    removed_non_patient_instance.c.removed_at,
    removed_non_patient_instance.c.id,
    postgresql_include=["size"],
)
