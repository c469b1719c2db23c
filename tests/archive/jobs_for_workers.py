"""Jobs that behave badly, for the tests of the worker pool."""

import ctypes
import os
import sys
import time
from struct import pack

import numpy as np

from app.errors import InvalidDataset


def echo(value: object) -> object:
    return value


def process_id() -> int:
    return os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def crash() -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


def be_killed(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


def loop_forever() -> None:
    while True:
        pass


def take_memory(size: int) -> int:
    return int(np.ones(size, np.uint8).sum())


def refuse() -> None:
    raise InvalidDataset("this one not", 0xA900)


def fail() -> None:
    raise KeyError("a bug")


def use_too_much() -> None:
    raise MemoryError


def send_nonsense() -> None:
    _write(pack("<QQ", 7, 0) + b"nothing")


def send_a_large_claim() -> None:
    _write(b"\xff" * 16)


def _write(data: bytes) -> None:
    """Answer past the loop, as a decoder that was taken over could, and stay."""
    os.write(int(sys.argv[1]), data)
    time.sleep(30)


def environment() -> dict[str, str]:
    return dict(os.environ)


class Trojan:
    """Would run a command in whoever unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def send_a_trojan() -> Trojan:
    return Trojan()


def write_a_file(path: str) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"something")
