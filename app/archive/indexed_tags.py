"""Attributes that the index answers for beyond its columns: choose, fill and remove them.

They are filled from what the index keeps of the data, in steps, while the archive stores and
answers. A step that is done stays done, so what is interrupted goes on where it was.
"""

from collections.abc import Callable

from app.archive.context import Archive
from app.dicom.chosen_attributes import ChosenAttribute
from app.errors import Forbidden
from app.index.attribute_values import (
    Indexed,
    choose,
    drop,
    fill,
    find_indexed,
    list_indexed,
)
from app.rights import Principal

Told = Callable[[Indexed], None]


async def list_tags(archive: Archive, principal: Principal) -> list[Indexed]:
    """Return all chosen attributes, and how far each is.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await list_indexed(archive.index, principal.scope.tenant_id)


async def index_tag(
    archive: Archive, principal: Principal, chosen: ChosenAttribute, tell: Told
) -> Indexed:
    """Have the index answer for an attribute; `tell` hears how far it is, after each step.

    Raises:
        Forbidden: `principal` may not administer.
        Conflict: its values are being removed.
        Unavailable: the index does not answer; the same again goes on where this was.
    """
    _check(principal)
    tenant = principal.scope.tenant_id
    indexed = await choose(archive.index, tenant, principal.name, chosen)
    tell(indexed)
    while await fill(archive.index, indexed.key) is not None:
        tell(await find_indexed(archive.index, tenant, chosen))
    return await find_indexed(archive.index, tenant, chosen)


async def unindex_tag(archive: Archive, principal: Principal, chosen: ChosenAttribute) -> None:
    """Remove an attribute from the index, with its values.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: it is not there.
        Unavailable: the index does not answer; the same again goes on where this was.
    """
    _check(principal)
    indexed = await find_indexed(archive.index, principal.scope.tenant_id, chosen)
    await drop(archive.index, principal.name, indexed.key)


def _check(principal: Principal) -> None:
    if not principal.administers_all:
        raise Forbidden("Administering is not allowed to you")
