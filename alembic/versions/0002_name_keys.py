"""Keys of person names, by which a search finds those that are nearly so (PS3.18 §8.3.4.2).

They are made from the folded names that each Study's row has; no object is read. Rows are taken
some thousands at a time, so the size of the archive does not matter. An archive of many Studies
is told how far it is.
"""

import sys
from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op
from app.dicom.fuzzy_names import name_keys

revision = "0002"
down_revision = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STEP = 5_000

COLUMNS = ("patient_name", "referring_physician_name")

NEXT = sa.text(
    "SELECT id, patient_name, referring_physician_name FROM study"
    " WHERE id > :last AND (patient_name <> '' OR referring_physician_name <> '')"
    " ORDER BY id LIMIT :step"
)
FILL = sa.text(
    "UPDATE study SET patient_name_keys = CAST(:patient_name AS integer[]),"
    " referring_physician_name_keys = CAST(:referring_physician_name AS integer[])"
    " WHERE id = :key"
)


def upgrade() -> None:
    """Add the columns, fill them, and index them."""
    for column in COLUMNS:
        op.execute(f"ALTER TABLE study ADD {column}_keys INTEGER[] DEFAULT '{{}}' NOT NULL")
    done, last = 0, 0
    while rows := op.get_bind().execute(NEXT, {"last": last, "step": STEP}).all():
        filled = [
            {"key": row.id, **{column: list(name_keys(getattr(row, column))) for column in COLUMNS}}
            for row in rows
        ]
        op.get_bind().execute(FILL, filled)
        done, last = done + len(rows), rows[-1].id
        if len(rows) == STEP:
            sys.stderr.write(f"0002: the names of {done:,} Studies have their keys\n")
    op.execute(
        "CREATE INDEX study_name_keys ON study"
        " USING gin (patient_name_keys, referring_physician_name_keys)"
    )
