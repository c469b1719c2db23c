"""The process that makes small files durable ends with its parent, whatever that was doing."""

import asyncio
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from app.objects import apart_main
from app.objects.apart_main import REQUEST, SLOT_BYTES, SLOTS
from app.objects.children import child_environment
from tests.objects.test_apart import helper
from tests.waiting import until

_STORES = """
import asyncio, sys
from pathlib import Path
from app.dicom.limits import Limits
from app.objects.local import LocalStore
from app.objects.staging import Staging
from tests.objects.test_contract import KEY, put

async def main():
    root = Path(sys.argv[1])
    store = LocalStore(root, apart=True)
    await put(store, Staging(root / "staging", Limits()), KEY, b"one")
    print("stored", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220 - ourselves
        [sys.executable, "-c", _STORES, str(tmp_path / "objects")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"stored\n"
    process = helper(parent.pid)
    parent.kill()
    parent.wait()
    await until(lambda: asyncio.sleep(0, not process.is_running()))
    parent.stdout.close()


def test_a_parent_that_is_killed_with_answers_unread_leaves_no_traceback(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    memory = os.memfd_create("slots")
    os.ftruncate(memory, SLOTS * SLOT_BYTES)
    passed, root = (theirs.fileno(), memory), tmp_path / "objects"
    root.mkdir()
    with subprocess.Popen(
        [sys.executable, "-S", "-m", apart_main.__name__, *map(str, passed), str(root)],
        pass_fds=passed,
        env=child_environment(),
        stderr=subprocess.PIPE,
    ) as process:
        theirs.close()
        os.close(memory)
        names = f"{tmp_path}/0.part\0{root}/one".encode()
        ours.send(REQUEST.pack(1, 0, 3, 0, 0) + names)
        assert select.select([ours], [], [], 30)[0]
        ours.close()
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, b"")
    assert (root / "one").read_bytes() == bytes(3)
