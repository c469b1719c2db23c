"""Which revisions of the schema this version knows: told from file names, so without a library."""

from pathlib import Path

import app


def migrations_directory() -> Path:
    """Return where the migrations are: beside `app` in a checkout, inside it in a wheel."""
    package = Path(app.__file__).parent
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "alembic"


def revisions() -> list[str]:
    """Return all revisions that this version of the program knows, oldest first."""
    return sorted(path.name.split("_")[0] for path in migrations_directory().glob("versions/*.py"))
