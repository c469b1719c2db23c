"""Python processes that are children of this one."""

import os
import sys

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")


def child_environment() -> dict[str, str]:
    """Return what a child needs of our environment, where modules lie too; secrets it does not."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
