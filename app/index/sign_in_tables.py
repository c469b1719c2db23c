"""The tables of browser sessions, of tickets and of what is opened in an emergency. Of what holders
show the SHA-256 alone is kept.

`scope` is what narrows the caller's, as `access.visible_arguments` has it.
"""

from sqlalchemy import Column, DateTime, Index, LargeBinary, Table
from sqlalchemy.dialects.postgresql import JSONB

from app.index import columns
from app.index.tables import metadata

web_session = Table(
    "web_session",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    columns.tenant(),
    columns.named("name"),
    columns.named("kind"),
    columns.texts("verbs"),
    Column("scope", JSONB),
    columns.now("created_at"),
    columns.now("last_seen_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
)

ticket = Table(
    "ticket",
    metadata,
    columns.key(),
    columns.tenant(),
    Column("digest", LargeBinary, nullable=False, unique=True),
    columns.named("study_instance_uid"),
    columns.texts("verbs"),
    Column("scope", JSONB),
    columns.named("made_by"),
    columns.named("maker_kind"),
    columns.now("made_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
)

emergency_override = Table(
    "emergency_override",
    metadata,
    columns.key(),
    columns.tenant(),
    columns.named("name"),
    columns.named("kind"),
    columns.named("study_instance_uid"),
    columns.named("reason"),
    columns.now("begun_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
)
Index(
    "emergency_override_of",
    emergency_override.c.tenant_id,
    emergency_override.c.name,
    emergency_override.c.kind,
    postgresql_where=emergency_override.c.ended_at.is_(None),
)
