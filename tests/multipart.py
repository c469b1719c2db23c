"""Multipart bodies in tests: what goes out, and what came back."""

import re

import httpx

RELATED = 'multipart/related; type="application/dicom"; boundary=b'


def make_multipart(*parts: bytes, content_type: str = "application/dicom") -> bytes:
    """Return the body that goes with `RELATED`."""
    head = f"--b\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--b--\r\n"


def split_multipart(response: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """Return header fields and content of each part, cut as cornerstone's parser cuts them."""
    found = re.search(r"boundary=(\S+)", response.headers["content-type"])
    assert found is not None
    delimiter = b"--" + found[1].encode()
    assert response.content.startswith(delimiter + b"\r\n")  # no preamble
    assert response.content.endswith(b"\r\n" + delimiter + b"--\r\n")
    parts = []
    body = response.content.removesuffix(delimiter + b"--\r\n")
    for piece in body.split(delimiter + b"\r\n")[1:]:
        head, _, content = piece.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        parts.append((fields, content.removesuffix(b"\r\n")))
    return parts
