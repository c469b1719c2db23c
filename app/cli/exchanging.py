"""`fileroom send` and `fileroom fetch`: Studies to and from others that speak DIMSE."""

import datetime
import logging
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.bridging import plan_of
from app.cli.refusal import Refusal
from app.dimse.migration import Done, Migration
from app.dimse.peers import Peer, check_ae_title, is_ae_title
from app.dimse.pulling import UnknownDestination
from app.dimse.sending_out import send_study
from app.dimse.server import Plan, Speaker, speaker
from app.errors import Unavailable
from app.logs import configure_logs
from app.settings import Settings

SOME_MISSING = 3
"""Exit code: all that could be done was, and something is missing."""


def run_fetch(
    settings: Settings,
    source: str,
    days: tuple[datetime.date, datetime.date] | None,
    studies: Sequence[str],
    rate: float,
    move_to: str = "",
) -> int:
    """Bring Studies of another archive into ours; return the exit code.

    Raises:
        Refusal: the source is not known, or does not answer, or does not know `move_to`.
    """
    if move_to and not is_ae_title(move_to):
        raise Refusal(f"{move_to} is no AE title: 1 to 16 plain characters, no backslash.")
    plan, ours = _begun(settings)
    peer = _peer(plan, source)
    migration = Migration(ours.archive, ours.caller, peer, rate=rate, move_to=move_to)
    try:
        wanted = list(studies)
        if days is not None:
            wanted += [one.study for one in migration.studies(*days)]
    except Unavailable as error:
        raise Refusal(str(error)) from None
    brought = _brought(migration, wanted)
    named = sum(one.named for one in brought)
    known = sum(one.known for one in brought)
    bad = [one for one in brought if not one.good]
    come = sum(one.come for one in brought)
    sys.stdout.write(
        f"{len(brought)} studies, {named} instances: {come} fetched, "
        f"{known} there already, {named - known - come} missing; {len(bad)} studies are not whole\n"
    )
    return SOME_MISSING if bad else 0


def _brought(migration: Migration, wanted: Sequence[str]) -> list[Done]:
    brought: list[Done] = []
    with _bar() as bar:
        task = bar.add_task("Studies", total=len(wanted))
        for study in wanted:
            try:
                brought.append(migration.bring(study))
            except UnknownDestination as error:
                raise Refusal(str(error)) from None
            _tell(bar, brought[-1])
            bar.advance(task)
    return brought


def run_send(settings: Settings, studies: Sequence[str], to: str) -> int:
    """Send Studies of our archive to another; return the exit code.

    Raises:
        Refusal: the destination is not known.
    """
    plan, ours = _begun(settings)
    peer = _peer(plan, to)
    failed = sent = 0
    with _bar() as bar:
        for study in studies:
            task = bar.add_task(study, total=None)
            for outcome in send_study(ours, peer, study):
                bar.update(task, total=outcome.total, advance=1)
                sent += outcome.sent
                failed += not outcome.sent
                if not outcome.sent:
                    bar.console.print(f"{outcome.instance}: {outcome.why}")
    sys.stdout.write(f"{sent} instances sent, {failed} failed\n")
    return SOME_MISSING if failed or not sent else 0


def _begun(settings: Settings) -> tuple[Plan, Speaker]:
    quiet = "warning" if settings.log.level == "info" else settings.log.level
    configure_logs(quiet, settings.log.format)
    logging.getLogger("pynetdicom").setLevel(logging.ERROR)
    plan = plan_of(settings)
    return plan, speaker(plan)


def _peer(plan: Plan, named: str) -> Peer:
    """Return a peer that is known by its AE title, or given as AE@host:port.

    Raises:
        Refusal: it is neither.
    """
    known = {peer.ae_title: peer for peer in plan.peers}
    if named in known and known[named].port is not None:
        return known[named]
    title, at, place = named.partition("@")
    host, colon, port = place.rpartition(":")
    try:
        if not (at and colon and host):
            raise ValueError("no place")
        return Peer(check_ae_title(title), host.strip("[]"), int(port))
    except ValueError:
        raise Refusal(
            f"{named} is no peer with a port in FILEROOM_DIMSE__PEERS, and not written as "
            "AE@host:port, such as OLDPACS@10.0.0.7:104."
        ) from None


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _tell(bar: Progress, done: Done) -> None:
    if done.good:
        return
    words = [f"{len(done.missing)} of {done.named} are missing"] if done.missing else []
    words += [done.trouble] if done.trouble else []
    bar.console.print(f"{done.study}: {': '.join(words)}", markup=False, highlight=False)
