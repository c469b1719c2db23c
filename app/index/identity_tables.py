"""The tables of who may ask: API keys, local users, and wrong passwords of the last minute.

Of a key the SHA-256 is kept: it is random, so nothing is found by guessing. `labels` of NULL are
all Studies. `failed_login` counts by the SHA-256 of a name and an address, or of an address.
"""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    DateTime,
    Index,
    LargeBinary,
    Table,
    UniqueConstraint,
    text,
)

from app.index import columns
from app.index.columns import C_TEXT
from app.index.tables import metadata

api_key = Table(
    "api_key",
    metadata,
    Column("id", C_TEXT, primary_key=True),
    columns.tenant(),
    columns.named("name"),
    Column("digest", LargeBinary, nullable=False),
    columns.texts("roles"),
    Column("labels", ARRAY(C_TEXT)),
    columns.now("created_at"),
    columns.named("created_by"),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)
Index(
    "api_key_name",
    api_key.c.tenant_id,
    api_key.c.name,
    unique=True,
    postgresql_where=text("revoked_at IS NULL"),
)

local_user = Table(
    "local_user",
    metadata,
    columns.key(),
    columns.tenant(),
    columns.named("name"),
    columns.named("password"),
    columns.texts("roles"),
    Column("labels", ARRAY(C_TEXT)),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    columns.now("created_at"),
    columns.named("created_by"),
    columns.now("changed_at"),
    UniqueConstraint("name"),
)

failed_login = Table(
    "failed_login",
    metadata,
    Column("who", LargeBinary, primary_key=True),
    columns.count("failures"),
    columns.now("since"),
)
Index("failed_login_since", failed_login.c.since)
