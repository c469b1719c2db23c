"""What commands have in common: options, and how they become settings."""

from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where index and objects are kept [FILEROOM_DATA_DIR; ./data]."),
]

Tenant = Annotated[str | None, typer.Option(help="One of `fileroom tenants list` [the first one].")]
LARGEST = 2**31 - 1
"""Of the numbers of rules and webhooks."""
LARGEST_JOB = 2**63 - 1


def flags(data_dir: Path | None, **groups: dict[str, Any]) -> dict[str, Any]:
    """Return what was given on the command line, as `load_settings` takes it."""
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    for group, values in groups.items():
        given[group] = {name: value for name, value in values.items() if value is not None}
    return given
