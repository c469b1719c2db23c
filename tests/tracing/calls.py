"""Watching system calls with `strace`, over all processes of an archive and on one clock."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STRACE = shutil.which("strace")
_WATCHED = (
    "fsync,fdatasync,mkdir,mkdirat,link,linkat,write,writev,sendto,sendmsg,read,recvfrom,recvmsg"
)
_ATTACH_SECONDS = 30
_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_BEGUN = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_WHOLE = re.compile(r"(\w+)\((.*)")
_ENDED = re.compile(r"(.*)\) += (-?\d+|\?)(?:.*?)(?: <(\d+\.\d+)>)?")


class CannotWatch(Exception):
    """These processes cannot be watched here."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that has returned; times in seconds on one clock."""

    pid: int
    name: str
    text: str
    """Its arguments, as strace writes them: descriptors with what they are."""
    result: int
    begun: float
    ended: float


@contextmanager
def watched(pids: Iterable[int], output: Path) -> Iterator[None]:
    """Watch processes, and those that they start, until the block ends; `read_calls` reads it.

    Raises:
        CannotWatch: there is no strace, or it may not.
    """
    if STRACE is None:
        raise CannotWatch("strace is not installed")
    wanted = [str(pid) for pid in pids]
    told = output.with_suffix(".told")
    command = [STRACE, "-f", "-ttt", "-T", "-yy", "-s", "4000", "-e", f"trace={_WATCHED}"]
    for pid in wanted:
        command += ["-p", pid]
    with told.open("wb") as messages:
        process = subprocess.Popen([*command, "-o", str(output)], stderr=messages)
    try:
        _wait_until_attached(process, told, wanted)
        yield
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait_until_attached(process: "subprocess.Popen[bytes]", told: Path, wanted: list[str]) -> None:
    end = time.monotonic() + _ATTACH_SECONDS
    while time.monotonic() < end and process.poll() is None:
        said = told.read_text()
        if all(f"Process {pid} attached" in said for pid in wanted):
            return
        if "not permitted" in said:
            break
        time.sleep(0.05)
    raise CannotWatch(told.read_text()[-500:])


def read_calls(output: Path) -> list[Call]:
    """Return the calls that came to their end, in the order in which they did."""
    with output.open(errors="replace") as lines:
        return parse_calls(lines)


def parse_calls(lines: Iterable[str]) -> list[Call]:
    """Return the calls of what strace writes with -f -ttt -T."""
    begun: dict[int, tuple[float, str, str]] = {}
    calls = []
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        pid, at, rest = int(found[1]), float(found[2]), found[3]
        if unfinished := _BEGUN.match(rest):
            begun[pid] = (at, unfinished[1], unfinished[2])
            continue
        if resumed := _RESUMED.match(rest):
            start, name, head = begun.pop(pid, (at, resumed[1], ""))
            calls.append(_call(pid, name, head + resumed[2], start, at))
        elif whole := _WHOLE.match(rest):
            calls.append(_call(pid, whole[1], whole[2], at, at))
    return sorted((call for call in calls if call), key=lambda call: call.ended)


def _call(pid: int, name: str, text: str, begun: float, seen: float) -> Call | None:
    found = _ENDED.fullmatch(text)
    if found is None or found[2] == "?":
        return None
    ended = max(seen, begun + float(found[3] or 0))
    return Call(pid, name, found[1], int(found[2]), begun, ended)
