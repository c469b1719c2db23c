"""The tables of storage commitment: what was asked, how far that is, and what came of it.

A `commitment_item` is there for each reference until all are verified; then the result is one text
in `commitment`, and the items go. `reason` is NULL before an item is verified, 0 when its Instance
is safe, else the Failure Reason; `object_key` says which object was read.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    UniqueConstraint,
    func,
    text,
)

from app.index.tables import C_TEXT, metadata


def _text(name: str) -> Column[str]:
    return Column(name, C_TEXT, nullable=False, server_default="")


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


# `studies` are those that the caller could see, NULL for all; who holds it works on it
commitment = Table(
    "commitment",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Integer, ForeignKey("tenant.id"), nullable=False),
    Column("transaction_uid", C_TEXT, nullable=False),
    Column("asked_by", C_TEXT, nullable=False),
    Column("studies", ARRAY(C_TEXT)),
    _now("requested_at"),
    _text("holder"),
    _now("held_until"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("finished_at", DateTime(timezone=True)),
    _text("result"),
    UniqueConstraint("tenant_id", "transaction_uid"),
)

commitment_item = Table(
    "commitment_item",
    metadata,
    Column(
        "commitment_id",
        BigInteger,
        ForeignKey("commitment.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sop_class_uid", C_TEXT, nullable=False),
    Column("sop_instance_uid", C_TEXT, nullable=False),
    _text("study_instance_uid"),
    _text("series_instance_uid"),
    Column("reason", SmallInteger),
    _text("object_key"),
)

Index(
    "commitment_working",
    commitment.c.held_until,
    postgresql_where=text("finished_at IS NULL"),
)
Index("commitment_finished", commitment.c.finished_at)
