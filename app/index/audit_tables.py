"""What the audit trail has beside the log: how events about a Study are found, and how far each
audit repository was told of it.

An index over all of `event` would cost each store as much as its row, and `accepted` is found by
its time anyway (`accepted`); of all other kinds there are few.
"""

from sqlalchemy import BigInteger, Column, Index, Table, text

from app.index.columns import C_TEXT
from app.index.tables import event, metadata

# of the server, not of a tenant: it is told of all
audit_collector = Table(
    "audit_collector",
    metadata,
    Column("address", C_TEXT, primary_key=True),
    Column("after_transaction", BigInteger, nullable=False),
    Column("after_number", BigInteger, nullable=False),
)

Index(
    "event_of_study",
    text("(payload ->> 'study'::text)"),
    event.c.xid,
    event.c.id,
    postgresql_where=text("kind <> 'accepted'::text"),
)
