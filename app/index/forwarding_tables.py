"""The tables of forwarding: where to, by which rules, and what waits.

A `forwarding` is one Instance that is to go to one destination; it goes when it is done. It is due
at `due_at`: to be tried again then or, if a bridge has claimed it, no longer that bridge's. `tries`
counts claims. One that is `dead` failed for good, and waits for an operator.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from app.index import columns
from app.index.tables import metadata


def _number() -> Column[int]:
    return Column("id", Integer, Identity(always=True), primary_key=True)


def _destination() -> Column[int]:
    return Column("destination_id", Integer, ForeignKey("destination.id"), nullable=False)


destination = Table(
    "destination",
    metadata,
    _number(),
    columns.tenant(),
    columns.named("ae_title"),
    columns.named("host"),
    Column("port", Integer, nullable=False),
    Column("tls", Boolean, nullable=False, server_default=text("false")),
    columns.named("made_by"),
    columns.now("made_at"),
    UniqueConstraint("tenant_id", "ae_title"),
)

# empty lists are any
forwarding_rule = Table(
    "forwarding_rule",
    metadata,
    _number(),
    columns.tenant(),
    _destination(),
    columns.texts("sources"),
    columns.texts("modalities"),
    columns.texts("sop_classes"),
    columns.named("made_by"),
    columns.now("made_at"),
)

forwarding = Table(
    "forwarding",
    metadata,
    columns.key(),
    Column("tenant_id", Integer, nullable=False),  # no foreign key: that of its destination is
    _destination(),
    Column("instance_key", BigInteger, nullable=False),  # none, either: it would cost each delete
    columns.text("claim"),
    columns.count("tries"),
    Column("dead", Boolean, nullable=False, server_default=text("false")),
    columns.text("reason"),
    columns.now("made_at"),
    columns.now("due_at"),
    UniqueConstraint("destination_id", "instance_key"),
)

Index("forwarding_rule_tenant", forwarding_rule.c.tenant_id)
Index(
    "forwarding_due",
    forwarding.c.destination_id,
    forwarding.c.due_at,
    forwarding.c.id,
    postgresql_where=text("NOT dead"),
)
Index("forwarding_claim", forwarding.c.claim, postgresql_where=text("claim <> ''"))
Index("forwarding_order", forwarding.c.tenant_id, forwarding.c.id)
