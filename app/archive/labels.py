"""Labels: short words on Studies, which rules and rights may name."""

import re
from collections.abc import Collection, Sequence

from app.archive.context import Archive
from app.archive.removal import known_everywhere
from app.errors import Forbidden, InvalidRequest
from app.index import labels as index_labels
from app.index.labels import MOST_LABELS, Labelled
from app.rights import Principal, Verb

PATTERN = r"[a-z0-9][a-z0-9._:-]{0,63}"
_LABEL = re.compile(PATTERN, re.ASCII)


def check_label(label: str) -> str:
    """Return a label if it is one.

    Raises:
        InvalidRequest: it is none.
    """
    if not _LABEL.fullmatch(label):
        raise InvalidRequest(
            "A label is up to 64 lower-case letters, digits, '-', '.', '_' and ':', and begins "
            "with a letter or digit"
        )
    return label


async def label_study(
    archive: Archive, principal: Principal, study: str, labels: Collection[str]
) -> Sequence[str]:
    """Put labels on a Study; return those that were not there.

    It is sealed before this returns. Labels go into the log: they should name no Patient.

    Raises:
        Conflict: it would bear too many.
        Forbidden: `principal` may not administer.
        InvalidRequest: one is no label, or there are too many.
        NotFound, Gone: there is no such Study, or `principal` may not see it.
        Unavailable: the index does not answer, or the seal takes long.
    """
    checked = _checked(principal, labels)
    scope, name = principal.scope, principal.name
    new = await index_labels.put_labels(archive.index, scope, study, name, checked)
    await archive.sealer.settle(scope.tenant_id)
    return new


async def unlabel_study(
    archive: Archive, principal: Principal, study: str, labels: Collection[str]
) -> Sequence[str]:
    """Take labels off a Study; return those that were there.

    It is sealed before this returns, and who saw the Study by such a label alone sees it no more.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: one is no label, or there are too many.
        NotFound, Gone: there is no such Study, or `principal` may not see it.
        Unavailable: the index does not answer, or the seal takes long.
    """
    checked = _checked(principal, labels)
    scope, name = principal.scope, principal.name
    taken = await index_labels.take_labels(archive.index, scope, study, name, checked)
    await known_everywhere(archive, scope.tenant_id)
    return taken


async def labels_of(archive: Archive, principal: Principal, study: str) -> Sequence[str]:
    """Return the labels of a Study, in order.

    Raises:
        Forbidden: `principal` may not search.
        NotFound, Gone: there is no such Study, or `principal` may not see it.
        Unavailable: the index does not answer.
    """
    _check_search(principal)
    return await index_labels.labels_of(archive.index, principal.scope, study)


async def list_labels(
    archive: Archive, principal: Principal, after: str, most: int
) -> Sequence[Labelled]:
    """Return up to `most` labels after one, in order, with how many Studies bear each.

    Studies that `principal` may not see do not count, and labels that only they bear are none.

    Raises:
        Forbidden: `principal` may not search.
        InvalidRequest: `after` is no label.
        Unavailable: the index does not answer in time.
    """
    _check_search(principal)
    begin = check_label(after) if after else ""
    return await index_labels.list_labels(archive.index, principal.scope, begin, most)


async def list_labelled(
    archive: Archive, principal: Principal, label: str, after: str, most: int
) -> Sequence[str]:
    """Return the UIDs of up to `most` Studies that bear a label, after one of them, in order.

    Raises:
        Forbidden: `principal` may not search.
        InvalidRequest: it is no label.
        Unavailable: the index does not answer in time.
    """
    _check_search(principal)
    scope = principal.scope
    return await index_labels.list_labelled(archive.index, scope, check_label(label), after, most)


def _checked(principal: Principal, labels: Collection[str]) -> list[str]:
    """Return labels that are to be put on or taken off, once each."""
    if Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Labelling is for administrators")
    checked = sorted({check_label(label) for label in labels})
    if len(checked) > MOST_LABELS:
        raise InvalidRequest(f"Up to {MOST_LABELS} labels at once, please")
    return checked


def _check_search(principal: Principal) -> None:
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("Searching is not allowed to you")
