"""The tables of a rebuild, empty but while one goes on (`rebuilding`)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    text,
)

from app.index import columns
from app.index.tables import metadata

rebuild = Table(
    "rebuild",
    metadata,
    Column("tenant_id", Integer, primary_key=True, autoincrement=False),
    Column("segment", BigInteger, nullable=False),
    Column("sealed_at", DateTime(timezone=True), nullable=False),
    Column("applied", BigInteger, nullable=False, server_default="0"),
)
rebuild_item = Table(
    "rebuild_item",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    columns.named("sop_instance_uid"),
    columns.named("attempt"),
    columns.named("study"),
    columns.named("series"),
    columns.named("category"),
    Column("sha256", LargeBinary, nullable=False),
    columns.named("state"),
    Column("ordinal", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("event_id", BigInteger, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("done", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("tenant_id", "sop_instance_uid", "attempt"),
)
Index(
    "rebuild_item_next",
    rebuild_item.c.ordinal,
    rebuild_item.c.sop_instance_uid,
    postgresql_where=text("NOT done"),
)
