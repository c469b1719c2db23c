"""What a data directory answers: compared between the version that made it and this one."""

import hashlib
from pathlib import Path
from typing import Any

import orjson

from app.archive.context import Archive
from app.archive.frames import find_frames, open_frames
from app.archive.retrieve import retrieve_instances
from app.archive.search import search
from app.dicom.attributes import Level
from app.dicom.uids import InstanceRef
from app.dicomweb.query import read_query
from app.mime.media_types import Form
from app.rights import Principal

FIXTURES = Path(__file__).parent / "fixtures"
BASE = "http://archive.example/dicom-web"
AS_STORED = Form("application/dicom", multipart=True, transfer_syntaxes=("*",))
NATIVE = Form("application/octet-stream", multipart=True)


async def describe(archive: Archive) -> dict[str, Any]:
    """Return the studies as searched, and digests of each Instance's bytes and frames."""
    principal = Principal("fixture")
    found = await search(archive, principal, read_query(b"", Level.STUDY, None, None), BASE)
    instances = await search(
        archive, principal, read_query(b"includefield=all", Level.INSTANCE, None, None), BASE
    )
    documents = [orjson.loads(row) for row in instances.rows]
    return {
        "studies": sorted((orjson.loads(row) for row in found.rows), key=str),
        "instances": sorted(documents, key=str),
        "digests": {
            str(ref.instance): await _digests(archive, principal, ref)
            for ref in map(_reference, documents)
        },
    }


def _reference(document: dict[str, Any]) -> InstanceRef:
    uids = (document[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return InstanceRef(*uids)


async def _digests(archive: Archive, principal: Principal, ref: InstanceRef) -> list[str]:
    answers = [await retrieve_instances(archive, principal, ref, [AS_STORED])]
    found = await find_frames(archive, principal, ref, [1], [NATIVE])
    answers.append(await open_frames(archive, principal, found))
    digests = []
    for answer in answers:
        assert isinstance(answer.bodies, list)
        (body,) = answer.bodies
        whole = b"".join([chunk async for chunk in body.chunks])
        digests.append(hashlib.sha256(whole).hexdigest())
    return digests
