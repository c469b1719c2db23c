"""`fileroom label`: which Studies bear which labels."""

import sys
from collections.abc import Sequence

from app.archive.context import Archive
from app.archive.labels import (
    check_label,
    label_study,
    list_labelled,
    list_labels,
    unlabel_study,
)
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.dicom.uids import check_uid
from app.settings import Settings

_NOTE = "fileroom label"
_PAGE = 1000


def run_add(settings: Settings, studies: Sequence[str], label: str) -> None:
    """Put a label on Studies, one after the other.

    Raises:
        InvalidRequest, InvalidUID: it is no label, or one no UID; nothing was done.
        NotFound, Gone: there is no such Study; those before it bear the label.
        Refusal: there is no archive.
    """
    uids = _checked(settings, studies, label)

    async def work(archive: Archive) -> None:
        for uid in uids:
            new = await label_study(archive, OPERATOR, uid, [label])
            said = "bears" if new else "bore already"
            sys.stdout.write(f"Study {uid} {said} the label {label}\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, studies: Sequence[str], label: str) -> None:
    """Take a label off Studies, one after the other.

    Raises:
        InvalidRequest, InvalidUID: it is no label, or one no UID; nothing was done.
        NotFound, Gone: there is no such Study; those before it do not bear the label.
        Refusal: there is no archive.
    """
    uids = _checked(settings, studies, label)

    async def work(archive: Archive) -> None:
        for uid in uids:
            taken = await unlabel_study(archive, OPERATOR, uid, [label])
            said = "does not bear the label {} any more" if taken else "did not bear the label {}"
            sys.stdout.write(f"Study {uid} {said.format(label)}\n")

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings, label: str | None) -> None:
    """Print all labels, or the UIDs of the Studies that bear one, one on a line.

    Raises:
        InvalidRequest: it is no label.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        lines = await (_list_labels(archive) if label is None else _list_studies(archive, label))
        if not lines:
            sys.stderr.write(f"no Study bears {'a label' if label is None else label}\n")

    with_archive(settings, _NOTE, work)


async def _list_labels(archive: Archive) -> int:
    after, lines = "", 0
    while page := await list_labels(archive, OPERATOR, after, _PAGE):
        after, lines = page[-1].label, lines + len(page)
        sys.stdout.write("".join(f"{one.label}: {one.studies:,} Studies\n" for one in page))
    return lines


async def _list_studies(archive: Archive, label: str) -> int:
    after, lines = "", 0
    while page := await list_labelled(archive, OPERATOR, label, after, _PAGE):
        after, lines = page[-1], lines + len(page)
        sys.stdout.write("".join(f"{uid}\n" for uid in page))
    return lines


def _checked(settings: Settings, studies: Sequence[str], label: str) -> list[str]:
    check_label(label)
    uids = [check_uid(study) for study in studies]
    check_there(settings)
    return uids
