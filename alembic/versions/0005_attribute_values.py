"""Values of attributes without a column, for those that the operator chooses."""

from collections.abc import Sequence

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STATEMENTS = (
    """CREATE TABLE indexed_attribute (
        id INTEGER GENERATED ALWAYS AS IDENTITY,
        tenant_id INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        level SMALLINT NOT NULL,
        vr TEXT COLLATE "C" NOT NULL,
        state TEXT COLLATE "C" NOT NULL,
        last_key BIGINT DEFAULT 0 NOT NULL,
        until_key BIGINT DEFAULT 0 NOT NULL,
        done BIGINT DEFAULT 0 NOT NULL,
        total BIGINT DEFAULT 0 NOT NULL,
        chosen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT indexed_attribute_pkey PRIMARY KEY (id),
        CONSTRAINT indexed_attribute_tenant_id_name_key UNIQUE (tenant_id, name),
        CONSTRAINT indexed_attribute_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenant (id)
    )""",
    """CREATE TABLE attribute_value (
        attribute_id INTEGER NOT NULL,
        owner_key BIGINT NOT NULL,
        position INTEGER NOT NULL,
        tenant_id INTEGER NOT NULL,
        items INTEGER[] DEFAULT '{}' NOT NULL,
        value TEXT COLLATE "C" NOT NULL,
        CONSTRAINT attribute_value_pkey PRIMARY KEY (attribute_id, owner_key, position)
    )""",
    """CREATE INDEX attribute_value_value ON attribute_value
        (attribute_id, value, owner_key)""",
    "CREATE INDEX attribute_value_text ON attribute_value USING gin (value gin_trgm_ops)",
    # the planner multiplies how common an attribute is by how common a value is, unless told
    """CREATE STATISTICS attribute_value_of_attribute (mcv, dependencies)
        ON attribute_id, value FROM attribute_value""",
)


def upgrade() -> None:
    """Make the tables, empty."""
    for statement in STATEMENTS:
        op.execute(statement)
