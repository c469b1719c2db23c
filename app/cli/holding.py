"""`fileroom hold`: which Studies are under legal hold."""

import sys

from app.archive.context import Archive
from app.archive.holds import hold_study, list_holds, release_study
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.dicom.uids import check_uid
from app.settings import Settings

_NOTE = "fileroom hold"
_PAGE = 500


def run_add(settings: Settings, study: str, reason: str) -> None:
    """Put a Study under legal hold.

    Raises:
        InvalidRequest, InvalidUID: there is no reason, or no UID.
        NotFound: the archive neither has nor had such a Study.
        Refusal: there is no archive.
    """
    uid = check_uid(study)
    check_there(settings)

    async def work(archive: Archive) -> None:
        await hold_study(archive, OPERATOR, uid, reason)
        sys.stdout.write(f"Study {uid} is under legal hold\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, study: str) -> None:
    """Take the hold off a Study.

    Raises:
        InvalidUID: it has no UID.
        NotFound: there is no hold on it.
        Refusal: there is no archive.
    """
    uid = check_uid(study)
    check_there(settings)

    async def work(archive: Archive) -> None:
        await release_study(archive, OPERATOR, uid)
        sys.stdout.write(f"Study {uid} is not under legal hold any more\n")

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings) -> None:
    """Print all holds, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        after, lines = "", 0
        while page := await list_holds(archive, OPERATOR, after, _PAGE):
            after, lines = page[-1].study, lines + len(page)
            for one in page:
                since = f"since {one.at:%Y-%m-%d %H:%M} by {one.by}"
                sys.stdout.write(f"{one.study}: {since}: {one.reason}\n")
        if not lines:
            sys.stdout.write("no Study is under legal hold\n")

    with_archive(settings, _NOTE, work)
