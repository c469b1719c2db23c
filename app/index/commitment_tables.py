"""The tables of storage commitment: what was asked, how far that is, and what came of it.

A `commitment_item` is there for each reference until all are verified; then the result is one text
in `commitment`, and the items go. `reason` is NULL before an item is verified, 0 when its Instance
is safe, else the Failure Reason; `object_key` says which object was read.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.index import columns
from app.index.tables import metadata

# `scope` is what the caller could see, as `access` has it, NULL for all; who holds it works on it.
# A bridge reports the result to the AE that it asked for, and says when that was done
commitment = Table(
    "commitment",
    metadata,
    columns.key(),
    columns.tenant(),
    columns.named("transaction_uid"),
    columns.named("asked_by"),
    Column("scope", JSONB),
    columns.now("requested_at"),
    columns.text("holder"),
    columns.now("held_until"),
    columns.count("tries"),
    Column("finished_at", DateTime(timezone=True)),
    columns.text("result"),
    columns.text("ae_title"),
    Column("reported_at", DateTime(timezone=True)),
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
    columns.named("sop_class_uid"),
    columns.named("sop_instance_uid"),
    columns.text("study_instance_uid"),
    columns.text("series_instance_uid"),
    Column("reason", SmallInteger),
    columns.text("object_key"),
)

Index(
    "commitment_working",
    commitment.c.held_until,
    postgresql_where=text("finished_at IS NULL"),
)
Index("commitment_finished", commitment.c.finished_at)
Index(
    "commitment_unreported",
    commitment.c.tenant_id,
    commitment.c.id,
    postgresql_where=text("ae_title <> '' AND reported_at IS NULL"),
)
