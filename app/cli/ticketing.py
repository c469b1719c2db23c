"""`fileroom tickets`: made, listed and revoked.

A new ticket alone goes to standard output, so that a script can take it; what it is for is said
beside.
"""

import sys
from collections.abc import Sequence

from app.archive.context import Archive
from app.archive.tickets import GIVEN, list_tickets, make_ticket, revoke_ticket
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.dicom.uids import check_uid
from app.errors import InvalidRequest
from app.index.tickets import Ticket
from app.rights import Verb
from app.settings import Settings

_NOTE = "fileroom tickets"
_PAGE = 1000


def run_create(settings: Settings, study: str, minutes: int, verbs: Sequence[str]) -> None:
    """Make a ticket, and print it.

    Raises:
        InvalidRequest: the UID or a verb is none.
        NotFound: there is no such Study.
        Refusal: there is no archive.
    """
    check_there(settings)
    if not {str(verb) for verb in GIVEN}.issuperset(verbs):
        raise InvalidRequest(f"A ticket allows {', '.join(sorted(GIVEN))}, or some of that")
    wanted = [Verb(verb) for verb in verbs]

    async def work(archive: Archive) -> None:
        made, secret = await make_ticket(archive, OPERATOR, check_uid(study), minutes, wanted)
        sys.stderr.write(f"A ticket, which is not shown again: {describe(made)}\n")
        sys.stderr.flush()
        sys.stdout.write(f"{secret}\n")

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings) -> None:
    """Print the tickets in force, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        after, there = 0, False
        while found := await list_tickets(archive, OPERATOR, after, _PAGE):
            sys.stdout.writelines(f"{describe(ticket)}\n" for ticket in found)
            after, there = found[-1].number, True
        if not there:
            sys.stdout.write("there are no tickets\n")

    with_archive(settings, _NOTE, work)


def run_revoke(settings: Settings, number: int) -> None:
    """Let a ticket open nothing more.

    Raises:
        NotFound: there is no such ticket in force.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await revoke_ticket(archive, OPERATOR, number)
        sys.stdout.write(f"Ticket {number} opens nothing any more\n")

    with_archive(settings, _NOTE, work)


def describe(ticket: Ticket) -> str:
    """Return a ticket as a line; never what callers send."""
    verbs = ", ".join(sorted(ticket.verbs))
    until = f"until {ticket.expires_at:%Y-%m-%d %H:%M}"
    return f"{ticket.number}: {verbs} of {ticket.study}, by {ticket.maker}, {until}"
