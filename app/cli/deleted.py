"""`fileroom deleted`: what is deleted and can be brought back."""

import sys
from datetime import datetime

from app.archive.context import Archive
from app.archive.restoring import (
    list_deleted,
    list_deleted_non_patient,
    purged_at,
    restore_deleted,
    restore_deleted_non_patient,
)
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.dicom.non_patient import CATEGORIES, category_of
from app.dicom.uids import InstanceRef, NonPatientRef, Ref, SeriesRef, StudyRef, check_uid
from app.settings import Settings

_NOTE = "fileroom deleted"
_PAGE = 500


def run_list(settings: Settings) -> None:
    """Print what is deleted, a Study or an Instance of no Patient on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        lines, after = 0, ""
        while studies := await list_deleted(archive, OPERATOR, after, _PAGE):
            after, lines = studies[-1].study, lines + len(studies)
            for one in studies:
                until = purged_at(archive, one.first_at, held=one.held)
                shown = f"{one.study}: {one.instances:,} Instances ({one.bytes / 1e6:,.1f} MB)"
                said = "under legal hold" if one.held else _until(until)
                sys.stdout.write(f"{shown}, deleted {one.last_at:%Y-%m-%d %H:%M}, {said}\n")
        last = 0
        while some := await list_deleted_non_patient(archive, OPERATOR, last, _PAGE):
            last, lines = some[-1].id, lines + len(some)
            for each in some:
                category = category_of(each.sop_class_uid)
                shown = f"{category.name if category else 'unknown'}/{each.instance}"
                said = _until(purged_at(archive, each.at))
                sys.stdout.write(f"{shown}, deleted {each.at:%Y-%m-%d %H:%M}, {said}\n")
        if not lines:
            sys.stdout.write("nothing is deleted that could be brought back\n")

    with_archive(settings, _NOTE, work)


def _until(moment: datetime | None) -> str:
    if moment is None:
        return "until somebody purges it"
    return f"until {moment:%Y-%m-%d %H:%M} UTC"


def run_restore(settings: Settings, what: str) -> None:
    """Bring back what was deleted.

    Raises:
        Conflict: something is in the way; nothing came back.
        InvalidUID, Refusal: `what` names nothing.
        NotFound: nothing of it is deleted.
        Refusal: there is no archive.
    """
    ref = _ref(what)
    check_there(settings)

    async def work(archive: Archive) -> None:
        if isinstance(ref, NonPatientRef):
            uid = ref.instance or ""
            restored = await restore_deleted_non_patient(archive, OPERATOR, ref.category, uid)
        else:
            restored = await restore_deleted(archive, OPERATOR, ref)
        said = f"{restored.instances:,} Instances are back"
        if restored.present:
            said += f"; {restored.present:,} were here already, with the same content"
        sys.stdout.write(f"{said}\n")

    with_archive(settings, _NOTE, work)


def _ref(what: str) -> Ref | NonPatientRef:
    first, *rest = what.split("/")
    if first in CATEGORIES and len(rest) == 1:
        return NonPatientRef(first, check_uid(rest[0]))
    match [check_uid(part) for part in (first, *rest)]:
        case [study]:
            return StudyRef(study)
        case [study, series]:
            return SeriesRef(study, series)
        case [study, series, instance]:
            return InstanceRef(study, series, instance)
    raise Refusal(f"{what!r} is neither STUDY, STUDY/SERIES nor STUDY/SERIES/INSTANCE.")
