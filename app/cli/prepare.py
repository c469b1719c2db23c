"""A short-lived child of `serve`: is the index of this version? It is one so that the parent stays
small. The URL comes on standard input, for it may hold a password."""

import gc
import sys
from contextlib import redirect_stderr
from urllib.parse import urlsplit


def main() -> None:
    """Migrate (`migrate`), or only look (`check`). Exits with a sentence where that fails."""
    gc.disable()  # it lives for a second, and most of that is imports
    from app.errors import ArchiveError  # noqa: PLC0415
    from app.index.migrations import migrate, pending  # noqa: PLC0415

    url = sys.stdin.read().strip()
    try:
        if sys.argv[1:] == ["migrate"]:
            gc.enable()  # filling a new column of a large archive takes minutes
            with redirect_stderr(sys.stdout):
                migrate(url)  # how far it is, is for the terminal: what ends it, for our parent
        elif missing := pending(url):
            sys.exit(
                f"The index lacks {len(missing)} migrations of this version. Make a backup, then "
                "run `fileroom migrate`."
            )
    except ArchiveError as error:
        sys.exit(f"The index{_place(url)} cannot be used: {error}{_cause(error)}.")


def _place(url: str) -> str:
    """Return where a PostgreSQL of the operator's is, without what may be a password."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    return f" at {hosts}{parts.path}" if hosts else ""


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    said = str(cause).strip().splitlines() if cause else []
    hint = "Check FILEROOM_DATABASE__URL; `fileroom doctor` checks more"
    return f": {said[0]}. {hint}" if said else ""


if __name__ == "__main__":
    main()
