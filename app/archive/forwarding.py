"""Forwarding: what is stored goes on to other AEs, by rules or by hand. A bridge sends it.

The archive keeps destinations, rules and the queue; a bridge claims what is due, sends it, and
tells what became of it (`index.forwardings`). So a bridge needs no memory of its own.
"""

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from app.archive.context import Archive
from app.dicom.ae_titles import check_ae_title
from app.dicom.uids import check_uid
from app.errors import Forbidden, InvalidRequest, NotFound
from app.index import forwarding_rules, forwardings
from app.index.forwarding_rules import Address, Destination, Rule, Terms
from app.index.forwardings import Claimed, Listed, Told
from app.rights import Principal, Verb

MOST_CLAIMED = 1_000
LEASE_SECONDS = (10, 3600)
"""The least and the most that a claim is for."""
MOST_VALUES = 100
STATES = ("waiting", "claimed", "dead")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,255}")
_CLAIM = re.compile("[0-9a-f]{32}")
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")


async def list_destinations(archive: Archive, principal: Principal) -> Sequence[Destination]:
    """Return all destinations, by their AE Titles.

    Raises:
        Forbidden: `principal` is neither administrator nor bridge.
        Unavailable: the index does not answer.
    """
    _check_bridge(principal)
    return await forwarding_rules.list_destinations(archive.index, principal.scope.tenant_id)


async def find_destination(archive: Archive, principal: Principal, ae_title: str) -> Destination:
    """Return one destination.

    Raises:
        Forbidden: `principal` is neither administrator nor bridge.
        InvalidRequest: that is no AE Title.
        NotFound: there is none of this AE Title.
        Unavailable: the index does not answer.
    """
    _check_bridge(principal)
    tenant_id, title = principal.scope.tenant_id, check_ae_title(ae_title)
    return await forwarding_rules.find_destination(archive.index, tenant_id, title)


async def put_destination(archive: Archive, principal: Principal, address: Address) -> bool:
    """Keep where an AE listens; say whether it is new.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: AE Title, host or port is none.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    checked = replace(address, ae_title=check_ae_title(address.ae_title))
    if not _HOST.fullmatch(address.host):
        raise InvalidRequest("A host is a name or an address, such as pacs.example.org")
    if not 1 <= address.port <= 65_535:
        raise InvalidRequest("A port is a number from 1 to 65535")
    tenant_id, name = principal.scope.tenant_id, principal.signature
    return await forwarding_rules.put_destination(archive.index, tenant_id, name, checked)


async def remove_destination(archive: Archive, principal: Principal, ae_title: str) -> None:
    """Forget a destination.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: that is no AE Title.
        NotFound: there is none of this AE Title.
        Conflict: a rule names it, or something waits for it.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    tenant_id, name = principal.scope.tenant_id, principal.signature
    title = check_ae_title(ae_title)
    await forwarding_rules.remove_destination(archive.index, tenant_id, name, title)


async def list_rules(archive: Archive, principal: Principal) -> Sequence[Rule]:
    """Return all rules, oldest first.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    return await forwarding_rules.list_rules(archive.index, principal.scope.tenant_id)


async def add_rule(archive: Archive, principal: Principal, terms: Terms) -> Rule:
    """Forward by a rule what is stored from now on.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest, InvalidUID: a value is none, or there are too many.
        NotFound: there is no such destination.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    lists = (terms.sources, terms.modalities, terms.sop_classes)
    if any(len(values) > MOST_VALUES for values in lists):
        raise InvalidRequest(f"Up to {MOST_VALUES} values of one kind were expected")
    if not all(map(_CODE.fullmatch, terms.modalities)):
        raise InvalidRequest("A modality is a code such as CT")
    checked = Terms(
        check_ae_title(terms.destination),
        tuple(map(check_ae_title, terms.sources)),
        terms.modalities,
        tuple(map(check_uid, terms.sop_classes)),
    )
    tenant_id, name = principal.scope.tenant_id, principal.signature
    return await forwarding_rules.add_rule(archive.index, tenant_id, name, checked)


async def remove_rule(archive: Archive, principal: Principal, number: int) -> None:
    """Take a rule away; what it has queued is forwarded all the same.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    tenant_id, name = principal.scope.tenant_id, principal.signature
    await forwarding_rules.remove_rule(archive.index, tenant_id, name, number)


async def forward(
    archive: Archive,
    principal: Principal,
    ae_title: str,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> int:
    """Queue a Study, one of its Series or Instances; return how many Instances are new there.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest, InvalidUID: a name is none.
        NotFound: there is no such destination.
        Unavailable: the index does not answer.
    """
    destination = await find_destination(archive, principal, ae_title)
    _check(principal)
    names = (
        check_uid(study),
        None if series is None else check_uid(series),
        None if instance is None else check_uid(instance),
    )
    title = destination.address.ae_title
    return await forwardings.add_forwardings(archive.index, principal.scope, title, names)


async def list_forwardings(
    archive: Archive,
    principal: Principal,
    ae_title: str | None,
    state: str | None,
    after: int,
    most: int,
) -> Sequence[Listed]:
    """Return up to `most` of the queue after a number, in the order in which it was queued.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: the state is none, or that is no AE Title.
        Unavailable: the index does not answer in time.
    """
    _check(principal)
    if state not in {None, *STATES}:
        raise InvalidRequest(f"A state is one of {', '.join(STATES)}")
    title = _title(ae_title)
    return await forwardings.list_forwardings(
        archive.index, principal.scope, title, state, after, most
    )


async def retry(
    archive: Archive,
    principal: Principal,
    numbers: Sequence[int],
    ae_title: str | None = None,
    *,
    dead: bool = False,
) -> int:
    """Let some of the queue be due at once: by number, or all of a destination; `dead` those alone.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: that is no AE Title.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    tenant_id = principal.scope.tenant_id
    return await forwardings.retry_forwardings(
        archive.index, tenant_id, numbers, _title(ae_title), dead=dead
    )


async def discard(
    archive: Archive,
    principal: Principal,
    numbers: Sequence[int],
    ae_title: str | None = None,
    *,
    dead: bool = False,
) -> int:
    """Give up some of the queue, as `retry` has them.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: that is no AE Title.
        Unavailable: the index does not answer.
    """
    _check_all(principal)
    tenant_id = principal.scope.tenant_id
    return await forwardings.discard_forwardings(
        archive.index, tenant_id, numbers, _title(ae_title), dead=dead
    )


async def claim(
    archive: Archive, principal: Principal, ae_title: str | None, most: int, seconds: float
) -> tuple[str, Claimed] | None:
    """Claim what is due, for a destination or for any; return the claim's name and what it has.

    None if nothing is due. What is not told of in `seconds` is due again.

    Raises:
        Forbidden: `principal` is neither administrator nor bridge.
        InvalidRequest: that is no AE Title.
        NotFound: there is no such destination.
        Unavailable: the index does not answer.
    """
    _check_bridge(principal)
    title = None
    if ae_title is not None:
        title = (await find_destination(archive, principal, ae_title)).address.ae_title
    name = secrets.token_hex(16)
    count = min(most, MOST_CLAIMED)
    claimed = await forwardings.claim_next(
        archive.index, principal.scope, name, title, count, seconds
    )
    return None if claimed is None else (name, claimed)


async def renew_claim(archive: Archive, principal: Principal, name: str, seconds: float) -> str:
    """Hold what is left of a claim for so many seconds from now; return until when.

    Raises:
        Forbidden: `principal` is neither administrator nor bridge.
        NotFound: nothing of it is left, or its time is over.
        Unavailable: the index does not answer.
    """
    _check_bridge(principal)
    tenant_id = principal.scope.tenant_id
    until = await forwardings.renew_claim(archive.index, tenant_id, _claim(name), seconds)
    return until.isoformat()


async def settle_claim(
    archive: Archive,
    principal: Principal,
    name: str,
    done: Collection[int],
    failed: Mapping[int, str],
) -> Told:
    """Take in what became of what a claim has; failures come with their reasons.

    What failed is tried again later, until it is dead. What the claim does not hold any more is not
    heeded: somebody else sends it now, and a second time does no harm there.

    Raises:
        Forbidden: `principal` is neither administrator nor bridge.
        NotFound: that is no name of a claim.
        Unavailable: the index does not answer.
    """
    _check_bridge(principal)
    who = principal.scope.tenant_id, principal.signature
    reasons = {number: reason.replace("\0", "") for number, reason in failed.items()}
    return await forwardings.settle_claim(archive.index, *who, _claim(name), done, reasons)


async def let_go(archive: Archive, principal: Principal, name: str) -> None:
    """Leave what is left of a claim to whoever asks next; it counts as no try.

    Raises:
        Forbidden: `principal` is neither administrator nor bridge.
        NotFound: nothing of it is left, or its time is over.
        Unavailable: the index does not answer.
    """
    _check_bridge(principal)
    if not await forwardings.let_go(archive.index, principal.scope.tenant_id, _claim(name)):
        raise NotFound("Claim", name)


def _title(ae_title: str | None) -> str | None:
    return None if ae_title is None else check_ae_title(ae_title)


def _claim(name: str) -> str:
    if not _CLAIM.fullmatch(name):
        raise NotFound("Claim", "of this name")
    return name


def _check(principal: Principal) -> None:
    if Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Forwarding is for administrators")


def _check_all(principal: Principal) -> None:
    if not principal.administers_all:
        raise Forbidden("Destinations, rules and the queue are for administrators")


def _check_bridge(principal: Principal) -> None:
    """See to it that a bridge asks, or an administrator; they get what their scope covers."""
    if principal.kind != "service" and Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Forwarding is for administrators and bridges")
