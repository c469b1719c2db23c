"""`fileroom destinations`, `forwarding-rules` and `forwardings`: what is sent on, and where to."""

import sys
from collections.abc import Awaitable, Callable, Sequence

from app.archive import forwarding
from app.archive.context import Archive
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.index.forwarding_rules import Address, Rule, Terms
from app.index.forwardings import Listed
from app.settings import Settings

_NOTE = "fileroom forwardings"
_PAGE = 1000


def _with(settings: Settings, work: Callable[[Archive], Awaitable[str]]) -> None:
    """Run `work` on the archive, and print what it says.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)
    sys.stdout.write(with_archive(settings, _NOTE, work))


def run_set(settings: Settings, ae_title: str, host: str, port: int, *, tls: bool) -> None:
    """Keep where an AE listens.

    Raises:
        InvalidRequest: a value is none.
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        address = Address(ae_title, host, port, tls)
        new = await forwarding.put_destination(archive, OPERATOR, address)
        return f"{_shown(address)}{'' if new else ', from now on'}\n"

    _with(settings, work)


def run_list_destinations(settings: Settings) -> None:
    """Print all destinations, one on a line.

    Raises:
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        found = await forwarding.list_destinations(archive, OPERATOR)
        lines = [_shown(one.address) for one in found]
        return "\n".join(lines or ["there are no destinations"]) + "\n"

    _with(settings, work)


def _shown(address: Address) -> str:
    tls = " with TLS" if address.tls else ""
    return f"{address.ae_title} listens on {address.host}, port {address.port}{tls}"


def run_remove_destination(settings: Settings, ae_title: str) -> None:
    """Forget a destination.

    Raises:
        NotFound, Conflict: there is none, or it is needed.
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        await forwarding.remove_destination(archive, OPERATOR, ae_title)
        return f"{ae_title} is no destination any more\n"

    _with(settings, work)


def run_add_rule(settings: Settings, destination: str, lists: Sequence[Sequence[str]]) -> None:
    """Make a rule; `lists` are its sources, modalities and SOP Classes.

    Raises:
        NotFound, InvalidRequest: there is no such destination, or a value is none.
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        terms = Terms(destination, *map(tuple, lists))
        return f"{describe(await forwarding.add_rule(archive, OPERATOR, terms))}\n"

    _with(settings, work)


def run_list_rules(settings: Settings) -> None:
    """Print all rules, one on a line.

    Raises:
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        lines = [describe(rule) for rule in await forwarding.list_rules(archive, OPERATOR)]
        return "\n".join(lines or ["nothing is sent on by rules"]) + "\n"

    _with(settings, work)


def describe(rule: Rule) -> str:
    """Say in one line what a rule sends where."""
    terms = rule.terms
    which = [
        f"{word} {' or '.join(values)}"
        for word, values in (
            ("from", terms.sources),
            ("of modality", terms.modalities),
            ("of SOP class", terms.sop_classes),
        )
        if values
    ]
    return f"{rule.id}. what is stored {' '.join(which) or 'at all'} goes to {terms.destination}"


def run_remove_rule(settings: Settings, number: int) -> None:
    """Take a rule away.

    Raises:
        NotFound: there is none.
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        await forwarding.remove_rule(archive, OPERATOR, number)
        return f"There is no forwarding rule {number} any more\n"

    _with(settings, work)


def run_add(settings: Settings, destination: str, study: str, series: str | None) -> None:
    """Queue a Study, or a Series of it.

    Raises:
        NotFound, InvalidRequest: there is no such destination, or a value is none.
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        count = await forwarding.forward(archive, OPERATOR, destination, study, series)
        return f"{count:,} Instances wait to be sent to {destination} that did not before\n"

    _with(settings, work)


def run_list(settings: Settings, destination: str | None, state: str | None) -> None:
    """Print the queue, one on a line.

    Raises:
        InvalidRequest: the state is none.
        Refusal: there is no archive.
    """

    async def work(archive: Archive) -> str:
        after = 0
        while page := await forwarding.list_forwardings(
            archive, OPERATOR, destination, state, after, _PAGE
        ):
            after = page[-1].item.id
            sys.stdout.write("".join(map(_line, page)))
        return "" if after else "nothing is to be sent on\n"

    _with(settings, work)


def _line(one: Listed) -> str:
    why = f": {one.reason}" if one.reason else ""
    tries = f", tried {one.item.tries} times" if one.item.tries else ""
    return f"{one.item.id}: {one.state}: {one.item.instance} to {one.destination}{tries}{why}\n"


def run_retry(
    settings: Settings, numbers: Sequence[int], destination: str | None, *, dead: bool
) -> None:
    """Let some be due at once.

    Raises:
        Refusal: none are named, or there is no archive.
    """
    _check_named(numbers, destination)

    async def work(archive: Archive) -> str:
        count = await forwarding.retry(archive, OPERATOR, numbers, destination, dead=dead)
        return f"{count:,} are due now\n"

    _with(settings, work)


def run_discard(
    settings: Settings, numbers: Sequence[int], destination: str | None, *, dead: bool
) -> None:
    """Give some up.

    Raises:
        Refusal: none are named, or there is no archive.
    """
    _check_named(numbers, destination)

    async def work(archive: Archive) -> str:
        count = await forwarding.discard(archive, OPERATOR, numbers, destination, dead=dead)
        return f"{count:,} are not sent\n"

    _with(settings, work)


def _check_named(numbers: Sequence[int], destination: str | None) -> None:
    if not numbers and destination is None:
        raise Refusal("Name some by their numbers, or all of a --destination.")
