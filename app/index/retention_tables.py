"""The tables of how long things stay: holds, retention rules, upkeep and sweeping."""

from sqlalchemy import (
    ARRAY,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    func,
    text,
)

from app.index.tables import (
    C_TEXT,
    metadata,
    removed_instance,
    removed_non_patient_instance,
)


def _tenant(*, key: bool = False) -> Column[int]:
    return Column("tenant_id", Integer, ForeignKey("tenant.id"), nullable=False, primary_key=key)


def _named(name: str) -> Column[str]:
    return Column(name, C_TEXT, nullable=False)


def _texts(name: str) -> Column[list[str]]:
    return Column(name, ARRAY(C_TEXT), nullable=False, server_default="{}")


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


# a Study that stays, whether its rows are live or removed
hold = Table(
    "hold",
    metadata,
    _tenant(key=True),
    Column("study_instance_uid", C_TEXT, primary_key=True),
    _named("reason"),
    _named("held_by"),
    _now("held_at"),
)

# a draft until `activated_at`; an empty array is any value
retention_rule = Table(
    "retention_rule",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    _tenant(),
    _named("name"),
    _named("action"),
    Column("days", Integer, nullable=False),
    _named("counted_from"),
    _texts("modalities"),
    _texts("stations"),
    _texts("institutions"),
    _texts("labels"),
    _named("made_by"),
    _now("made_at"),
    Column("activated_at", DateTime(timezone=True)),
    UniqueConstraint("tenant_id", "name"),
)

# work that one process does for all: who is at it until when, and when it was done last
upkeep = Table(
    "upkeep",
    metadata,
    Column("name", C_TEXT, primary_key=True),
    _named("holder"),
    Column("held_until", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
)

# keys that no row may name any more
swept_object = Table(
    "swept_object",
    metadata,
    Column("object_key", C_TEXT, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    _named("sop_instance_uid"),
    _now("swept_at"),
)

# processes that have been storing for long: objects made `since` may get a row yet
running_store = Table(
    "running_store",
    metadata,
    Column("process", C_TEXT, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False),
    _now("told_at"),
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
