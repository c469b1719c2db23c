"""The tables of copies, repairs and the scrubber. They name objects by key and store by store.

`copy_task` is the queue of what has to be done about an object in a store: `copy` it there,
`remove` it from there, `repair` it, or `abort` an upload that did not come to its end. Triggers on
the tables of Instances queue the copies, for the stores that the session setting `fileroom.copies`
names: so whoever writes a row, in the same transaction its copies are queued. A task goes when it
is done, and never before.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    SmallInteger,
    Table,
    UniqueConstraint,
)

from app.index import columns
from app.index.columns import C_TEXT
from app.index.tables import metadata

copy_task = Table(
    "copy_task",
    metadata,
    columns.key(),
    columns.named("kind"),
    columns.named("store"),
    columns.named("object_key"),
    columns.now("queued_at"),
    columns.count("tries"),
    columns.now("next_try"),
    columns.text("last_error"),
    UniqueConstraint("store", "object_key", "kind"),
)

# what is wrong with an object in a store, '' where no store has it whole: it is in quarantine
finding = Table(
    "finding",
    metadata,
    columns.key(),
    Column("tenant_id", Integer, nullable=False),
    columns.text("store"),
    columns.named("object_key"),
    columns.text("study_instance_uid"),
    columns.named("sop_instance_uid"),
    columns.named("state"),
    columns.text("detail"),
    columns.now("since"),
    UniqueConstraint("object_key", "store"),
)

# how far the scrubber is in a store: in which table of Instances, and after which of its rows
scrubbed_store = Table(
    "scrubbed_store",
    metadata,
    Column("name", C_TEXT, primary_key=True),
    Column("filled", Boolean, nullable=False, server_default="false"),
    Column("table_number", SmallInteger, nullable=False, server_default="0"),
    Column("last_key", BigInteger, nullable=False, server_default="0"),
    Column("began_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    # when the last pass that came to its end began: everything was verified after that
    Column("verified_from", DateTime(timezone=True)),
    columns.text("worker"),
    Column("leased_until", DateTime(timezone=True)),
)

Index("copy_task_next", copy_task.c.store, copy_task.c.next_try)
Index("finding_uid", finding.c.tenant_id, finding.c.sop_instance_uid)
