"""How much the archive holds, for the page `/` and for metrics: cheap at any size."""

from dataclasses import dataclass

from app.index.conditions import Arguments
from app.index.engine import Index
from app.rights import Scope

SUM_TALLY = """
SELECT coalesce(sum(studies), 0)::bigint AS studies, coalesce(sum(series), 0)::bigint AS series,
    coalesce(sum(instances), 0)::bigint AS instances, coalesce(sum(bytes), 0)::bigint AS bytes
FROM tally WHERE tenant_id = $1
"""

SUM_STUDIES = """
SELECT count(*) AS studies, coalesce(sum(number_of_series), 0)::bigint AS series,
    coalesce(sum(number_of_instances), 0)::bigint AS instances,
    coalesce(sum(size), 0)::bigint AS bytes
FROM study WHERE
"""


@dataclass(frozen=True, slots=True)
class Overview:
    """Sums over the Studies that a caller may see; `bytes` are those of the stored objects."""

    studies: int
    series: int
    instances: int
    bytes: int


async def count_everything(index: Index, scope: Scope) -> Overview:
    """Return the sums for a scope: kept ones for a whole tenant, else those of what is visible.

    Raises:
        Unavailable: the index does not answer.
    """
    if scope.is_whole:
        rows = await index.fetch(SUM_TALLY, scope.tenant_id)
    else:
        arguments = Arguments(scope, None)
        rows = await index.search(SUM_STUDIES + arguments.visible("study"), *arguments)
    return Overview(**rows[0])
