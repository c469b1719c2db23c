"""The stored file of an Instance, byte for byte, whatever its Transfer Syntax."""

import hashlib

import httpx
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from tests.admin.conftest import KEY, Served
from tests.factories import make_dataset, make_part10, new_uid

DICOM = {"Content-Type": "application/dicom"}


async def _stored(client: httpx.AsyncClient, syntax: str) -> tuple[str, bytes]:
    """Store an Instance; return the path of its original, and its bytes."""
    dataset = make_dataset()
    data = make_part10(dataset, transfer_syntax=syntax)
    answer = await client.post("/dicom-web/studies", content=data, headers=DICOM)
    assert answer.status_code == 200
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return "/api/v1/studies/{}/series/{}/instances/{}/original".format(*uids), data


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
async def test_what_was_received_is_given_out(client: httpx.AsyncClient, syntax: str) -> None:
    path, data = await _stored(client, syntax)
    answer = await client.get(path)
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    known = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    part = await client.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    head = await client.head(path)
    assert head.headers["content-length"] == str(len(data))


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    path, _ = await _stored(client, ImplicitVRLittleEndian)
    base, _, _ = path.rpartition("/instances/")
    assert (await client.get(f"{base}/instances/{new_uid()}/original")).status_code == 404
    assert (await client.get(f"{base}/instances/no-uid/original")).status_code == 400


async def test_who_has_no_key_gets_nothing(served: Served) -> None:
    async with served(key=True) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        path, data = await _stored(client, ImplicitVRLittleEndian)
        assert (await client.get(path)).content == data
        del client.headers["Authorization"]
        assert (await client.get(path)).status_code == 401
