"""A bridge of its own for a test, on a live archive, and DCMTK's tools to speak to it."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from app.dicom.file_meta import find_dataset_offset, read_file_meta
from app.dimse.server import Bridge, Plan
from tests.live_server import LiveServer

DCMTK = Path("/usr/bin")
"""pynetdicom brings commands of the same names, which may stand before them in the path."""
TITLE = "FILEROOM"
PATIENCE = 60


@dataclass(frozen=True)
class RunningBridge:
    """Where a bridge listens, and the bridge itself."""

    port: int
    bridge: Bridge


@contextmanager
def bridge_to(archive: LiveServer | str, **plan: Any) -> Iterator[RunningBridge]:
    """Run a bridge to an archive, open to all unless the plan says otherwise."""
    url = archive if isinstance(archive, str) else archive.url
    whole = Plan(**{"archive_url": url, "keys": {}, "ae_title": TITLE, "open": True, **plan})
    ready = threading.Event()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        bridge = Bridge(whole, listening)
        thread = threading.Thread(target=bridge.serve, args=(ready.set,))
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            yield RunningBridge(listening.getsockname()[1], bridge)
        finally:
            bridge.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def dcmtk(tool: str, *arguments: str | Path, good: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's tools; it has to succeed unless it need not be `good`."""
    done = subprocess.run(
        [DCMTK / tool, *arguments],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        errors="replace",
    )
    if good:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def called(bridge: RunningBridge, *, calling: str = "MODALITY") -> tuple[str, ...]:
    """Return how DCMTK's tools name a bridge."""
    return ("-aet", calling, "-aec", TITLE, "127.0.0.1", str(bridge.port))


@contextmanager
def associated(
    bridge: RunningBridge, *contexts: tuple[str, str], calling: str = "MODALITY", **more: Any
) -> Iterator[Association]:
    """Ask for an association with pairs of abstract and Transfer Syntax; it has to be accepted."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
    for abstract, transfer in contexts:
        entity.add_requested_context(abstract, transfer)
    association = entity.associate("127.0.0.1", bridge.port, ae_title=TITLE, **more)
    assert association.is_established
    yield association
    if association.is_established:
        association.release()


def send_bytes(
    association: Association,
    data_set: bytes,
    sop_class_uid: str,
    sop_instance_uid: str,
) -> tuple[int, str]:
    """Store a data set as the very bytes that are given; return status and comment."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.DataSet = BytesIO(data_set)
    accepted = {str(context.abstract_syntax): context for context in association.accepted_contexts}
    context_id = accepted[sop_class_uid].context_id
    assert context_id is not None
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(response, C_STORE)
    comment: str | None = response.ErrorComment
    assert response.Status is not None
    return int(response.Status), comment or ""


def until_forwarded(bridge: RunningBridge) -> None:
    """Wait until nothing waits in the spool of a bridge, if it has one."""
    end = time.monotonic() + PATIENCE
    while bridge.bridge.spool is not None and bridge.bridge.spool.figures().instances:
        assert time.monotonic() < end, bridge.bridge.spool.figures()
        time.sleep(0.02)


def data_set_of(part10: bytes) -> bytes:
    """Return what follows the File Meta Information of a file."""
    return part10[find_dataset_offset(part10[: 2**16]) :]


def transfer_syntax_of(part10: bytes) -> str:
    """Return the Transfer Syntax that a file names."""
    return read_file_meta(part10[: 2**16]).transfer_syntax_uid
