"""The tables of jobs, as pgqueuer declares them (`jobs.queue`), and of webhooks.

Left out of pgqueuer's on purpose are its statistics and schedules, which nothing here uses, and its
trigger: a NOTIFY makes all transactions wait for each other at their commit, and nobody listens.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ENUM, JSONB

from app.index import columns
from app.index.columns import C_TEXT
from app.index.tables import metadata

_STATUS = ENUM(
    "queued",
    "picked",
    "successful",
    "exception",
    "canceled",
    "deleted",
    "failed",
    name="job_status",
    create_type=False,
)


# a job that waits, is being done (picked), or is a dead letter (failed); it goes when it is done
job = Table(
    "job",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("priority", Integer, nullable=False),
    Column("queue_manager_id", Uuid),
    columns.now("created"),
    columns.now("updated"),
    columns.now("heartbeat"),
    columns.now("execute_after"),
    Column("status", _STATUS, nullable=False),
    columns.named("entrypoint"),
    Column("dedupe_key", C_TEXT),
    Column("payload", LargeBinary),
    Column("headers", JSONB),
    columns.count("attempts"),
    Column("slot", BigInteger),
)

# what became of jobs, and why they failed
job_log = Table(
    "job_log",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    columns.now("created"),
    Column("job_id", BigInteger, nullable=False),
    Column("status", _STATUS, nullable=False),
    Column("priority", Integer, nullable=False),
    columns.named("entrypoint"),
    Column("traceback", JSONB),
    Column("aggregated", Boolean, server_default=text("false")),
)

# who is told of events, and after which: `job_id` is the delivery under way of those that follow;
# no kinds are all kinds, and a webhook that is `disabled` says why
webhook = Table(
    "webhook",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    columns.tenant(),
    columns.named("url"),
    columns.texts("kinds"),
    columns.named("secret"),
    columns.named("made_by"),
    columns.now("made_at"),
    Column("after_transaction", BigInteger, nullable=False),
    Column("after_number", BigInteger, nullable=False),
    Column("job_id", BigInteger),
    Column("delivered_at", DateTime(timezone=True)),
    columns.text("disabled"),
    UniqueConstraint("tenant_id", "url"),
)

_QUEUED = text("status = 'queued'::job_status")
_PICKED = text("status = 'picked'::job_status")

Index(
    "job_ep_prio_id_idx",
    job.c.entrypoint,
    job.c.priority.desc(),
    job.c.id,
    postgresql_where=_QUEUED,
)
Index("job_ep_ea_idx", job.c.entrypoint, job.c.execute_after, postgresql_where=_QUEUED)
Index("job_picked_heartbeat_idx", job.c.heartbeat, postgresql_where=_PICKED)
Index(
    "job_queue_manager_id_idx",
    job.c.queue_manager_id,
    postgresql_where=text("queue_manager_id IS NOT NULL"),
)
Index(
    "job_unique_dedupe_key",
    job.c.dedupe_key,
    unique=True,
    postgresql_where=text(
        "status = ANY (ARRAY['queued'::job_status, 'picked'::job_status])"
        " AND dedupe_key IS NOT NULL"
    ),
)
Index(
    "job_picked_slot_idx",
    job.c.entrypoint,
    job.c.slot,
    unique=True,
    postgresql_where=text("status = 'picked'::job_status AND slot IS NOT NULL"),
)
Index("job_log_created", job_log.c.created)
Index("job_log_job_id_status", job_log.c.job_id, job_log.c.created.desc())
