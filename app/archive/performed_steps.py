"""Performed Procedure Steps: created, changed until their end, read (PS3.18 chapter 15)."""

from typing import Any

from app.archive.context import Archive
from app.dicom.performed_step import change_step, create_step, step_with_uid
from app.errors import Forbidden
from app.index.access import covered_studies
from app.index.performed_steps import add_performed, change_performed, find_performed
from app.rights import Principal, Verb


async def create_performed_step(
    archive: Archive, principal: Principal, uid: str, dataset: Any
) -> None:
    """Create a step of a DICOM JSON object, and show on the worklist that it is begun.

    Raises:
        Forbidden: `principal` may not store, or may not see its Studies.
        Duplicate: there is one of this UID.
        MissingAttribute, InvalidAttribute: the Data Set is not as it has to be.
        Unavailable: the index does not answer.
    """
    _check_store(principal)
    step = create_step(dataset, archive.limits)
    seen = await covered_studies(archive.index, principal.scope, step.studies)
    if not seen.issuperset(step.studies):
        raise Forbidden("A Study of this step is not yours")
    tenant_id = principal.scope.tenant_id
    await add_performed(archive.index, tenant_id, principal.signature, uid, step)


async def update_performed_step(
    archive: Archive, principal: Principal, uid: str, dataset: Any
) -> None:
    """Put what a DICOM JSON object says into a step; with it the step may come to its end.

    Raises:
        Forbidden: `principal` may not store.
        NotFound: there is no such step, or `principal` may not see it.
        Final: it has come to its end before.
        MissingAttribute, InvalidAttribute: the Data Set, or what becomes of the step, is not as it
            has to be.
        Unavailable: the index does not answer.
    """
    _check_store(principal)
    limits, scope = archive.limits, principal.scope
    await change_performed(
        archive.index,
        scope,
        principal.signature,
        uid,
        lambda document: change_step(document, dataset, limits),
    )


async def retrieve_performed_step(archive: Archive, principal: Principal, uid: str) -> str:
    """Return a step as DICOM JSON.

    Raises:
        Forbidden: `principal` may not search.
        NotFound: there is no such step, or `principal` may not see it.
        Unavailable: the index does not answer.
    """
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("Searching is not allowed to you")
    return step_with_uid(await find_performed(archive.index, principal.scope, uid), uid)


def _check_store(principal: Principal) -> None:
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Performed steps are for those who may store")
