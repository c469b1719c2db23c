"""Requests as they go over the wire, shared by the tables of this folder."""

from collections.abc import Sequence
from email.parser import BytesParser
from typing import Any

import httpx
from pydicom import Dataset

JSON = "application/dicom+json"
DICOM_PARTS = 'multipart/related; type="application/dicom"'
OCTET_PARTS = 'multipart/related; type="application/octet-stream"'
STORED, FAILED, OTHER_FAILURES, REASON = "00081199", "00081198", "0008119A", "00081197"


def path_of(dataset: Dataset) -> str:
    """Return the Instance's resource."""
    return (
        f"/dicom-web/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )


def series_path(dataset: Dataset) -> str:
    """Return the Series' resource."""
    return path_of(dataset).rpartition("/instances/")[0]


def study_path(dataset: Dataset) -> str:
    """Return the Study's resource."""
    return path_of(dataset).partition("/series/")[0]


def body_of(parts: Sequence[bytes], boundary: str = "b") -> bytes:
    """Return a multipart body of Instances."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def store(client: httpx.Client, *parts: bytes, path: str = "/dicom-web/studies") -> httpx.Response:
    """Store Instances in one request."""
    headers = {"Content-Type": f"{DICOM_PARTS}; boundary=b", "Accept": JSON}
    return client.post(path, content=body_of(parts), headers=headers)


def get(client: httpx.Client, path: str, accept: str | None = None, **more: str) -> httpx.Response:
    """Send GET with an Accept header, or with one that takes anything."""
    return client.get(path, headers={"Accept": accept or "*/*", **more})


def get_json(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    """Return a JSON answer that has to be a success; no content is an empty list."""
    answer = get(client, path, JSON)
    assert answer.status_code in {200, 204}, answer.text
    found: list[dict[str, Any]] = answer.json() if answer.content else []
    return found


def parts_of(answer: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """Return the parts of a multipart answer, read by Python's own mail parser for the headers."""
    kind, boundary = answer.headers["Content-Type"], _boundary(answer)
    assert kind.startswith("multipart/related"), kind
    assert answer.content.endswith(b"\r\n--" + boundary + b"--\r\n") or answer.content.endswith(
        b"\r\n--" + boundary + b"--"
    )
    pieces = (b"\r\n" + answer.content).split(b"\r\n--" + boundary)[1:-1]
    found = []
    for piece in pieces:
        head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found.append((dict(BytesParser().parsebytes(head + b"\r\n\r\n").items()), body))
    return found


def _boundary(answer: httpx.Response) -> bytes:
    message = BytesParser().parsebytes(
        b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n"
    )
    boundary = message.get_boundary()
    assert boundary is not None
    return boundary.encode()
