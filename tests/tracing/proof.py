"""What precedes an answer: the order of system calls that "success means durable" asks for.

A directory:  bytes fsynced → linked to the key → its directory fsynced (and those above that are
new) → told to PostgreSQL → its log flushed → `HTTP/1.1 200`.

A bucket:  the put sent → its 200 received → told to PostgreSQL → its log flushed → `HTTP/1.1 200`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath

from tests.tracing.calls import Call

_SENDING = {"write", "writev", "sendto", "sendmsg"}
_RECEIVING = {"read", "recvfrom", "recvmsg"}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FLUSHED = {"fsync", "fdatasync"}


class Unproved(Exception):
    """A step is missing, or comes too late."""


def unproved(
    calls: Sequence[Call], answered: Mapping[str, int], bucket_port: int | None = None
) -> list[str]:
    """Say of which Instances the answer came too early.

    `answered` are the SOP Instance UIDs that were acknowledged, and the client's port for each.
    """
    said = []
    for uid, port in answered.items():
        try:
            _prove(calls, uid, port, bucket_port)
        except Unproved as reason:
            said.append(f"{uid}: {reason}")
    return said


def _prove(calls: Sequence[Call], uid: str, port: int, bucket_port: int | None) -> None:
    answer = _first("the answer", calls, lambda call: _is_answer(call, port))
    before = [call for call in calls if call.ended <= answer.begun]
    safe = _put(before, uid, bucket_port) if bucket_port else _linked(before, uid)
    told = _first(
        "the row that is sent to PostgreSQL after that",
        before,
        lambda call: (
            call.begun >= safe
            and call.name in _SENDING
            and "<UNIX" in call.text
            and uid in call.text
        ),
    )
    _first(
        "the flush of PostgreSQL's log after that",
        before,
        lambda call: (
            call.begun >= told.begun
            and call.name in _FLUSHED
            and call.result == 0
            and "/pg_wal/" in call.text
        ),
    )


def _linked(before: Sequence[Call], uid: str) -> float:
    """Return when an object in a directory was durable."""
    link = _first(
        "the link to its key",
        before,
        lambda call: (
            call.name in {"link", "linkat"} and call.result == 0 and f"/{uid}." in call.text
        ),
    )
    staged, key = (PurePath(name) for name in _QUOTED.findall(link.text))
    _first(
        "the fsync of its bytes before the link",
        before,
        lambda call: _is_fsync(call, staged) and call.ended <= link.begun,
    )
    synced = _first(
        "the fsync of its directory after the link",
        before,
        lambda call: _is_fsync(call, key.parent) and call.begun >= link.ended,
    )
    made = list(_made(before, key))
    for directory, at in made:
        _first(
            f"the fsync of the directory above the new {directory.name}",
            before,
            lambda call, above=directory.parent, at=at: _is_fsync(call, above) and call.begun >= at,
        )
    return synced.ended


def _made(before: Iterable[Call], key: PurePath) -> Iterator[tuple[PurePath, float]]:
    """Yield the directories above a key that were made, and when."""
    for call in before:
        if call.name in {"mkdir", "mkdirat"} and call.result == 0:
            (path,) = (PurePath(name) for name in _QUOTED.findall(call.text))
            if path in key.parents:
                yield path, call.ended


def _put(before: Sequence[Call], uid: str, port: int) -> float:
    """Return when a bucket had said that it has an object."""
    sent = _first(
        "the put to the bucket",
        before,
        lambda call: (
            call.name in _SENDING
            and f":{port}]" in call.text
            and '"PUT /' in call.text
            and f"/{uid}." in call.text
        ),
    )
    descriptor = sent.text.partition(">")[0]
    received = _first(
        "the bucket's 200",
        before,
        lambda call: (
            call.begun >= sent.begun
            and call.name in _RECEIVING
            and call.text.startswith(descriptor)
            and '"HTTP/1.1 200' in call.text
        ),
    )
    return received.ended


def _is_answer(call: Call, port: int) -> bool:
    return call.name in _SENDING and f":{port}]" in call.text and '"HTTP/1.1 200' in call.text


def _is_fsync(call: Call, path: PurePath) -> bool:
    return call.name in _FLUSHED and call.result == 0 and call.text.endswith(f"<{path}>")


def _first(what: str, calls: Iterable[Call], is_it: Callable[..., bool]) -> Call:
    for call in calls:
        if is_it(call):
            return call
    raise Unproved(f"{what} is missing")
