"""The requests of the benchmark, word for word, and what a right answer to each is."""

import hashlib
from collections.abc import Sequence

import orjson

from benchmarks.client import Answer, Buffer, Connection, Message, build_get
from benchmarks.data import Instance

_BOUNDARY = b"fileroom-benchmark-4711"
FRAME_ACCEPT = ("Accept", "multipart/related; type=application/octet-stream; transfer-syntax=*")
"""What OHIF's image loader sends for every frame."""
SERIES_ACCEPT = ("Accept", 'multipart/related; type="application/dicom"; transfer-syntax=*')
JSON_ACCEPT = ("Accept", "application/dicom+json")
GZIP = ("Accept-Encoding", "gzip")


class WrongAnswer(Exception):
    """A server answered, and not with what it was given; nothing is measured then."""


def build_store(root: str, instances: Sequence[Instance]) -> Message:
    """Return one STOW-RS request with the instances; their pixels are not copied."""
    opening = b"--%b\r\nContent-Type: application/dicom\r\n\r\n" % _BOUNDARY
    parts: list[Buffer] = []
    for instance in instances:
        parts += [opening, *(piece for piece in instance.pieces() if len(piece)), b"\r\n"]
    parts.append(b"--%b--\r\n" % _BOUNDARY)
    head = (
        f"POST {root}/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; '
        f"boundary={_BOUNDARY.decode()}\r\n"
        f"Content-Length: {sum(len(part) for part in parts)}\r\n\r\n"
    )
    # few pieces: small ones are joined, pixels stay as they are
    return _join_small([head.encode(), *parts])


def _join_small(pieces: Sequence[Buffer], limit: int = 1 << 14) -> list[Buffer]:
    joined: list[Buffer] = []
    gathered = bytearray()
    for piece in pieces:
        if len(piece) < limit:
            gathered += piece
            continue
        joined += [bytes(gathered), piece]
        gathered.clear()
    return [*joined, bytes(gathered)] if gathered else joined


def build_frame(root: str, instance: Instance, frame: int) -> Message:
    """Return the request for one frame; `frame` counts from 0."""
    return build_get(f"{root}{instance.path}/frames/{frame + 1}", [FRAME_ACCEPT])


def build_series(root: str, instance: Instance) -> Message:
    """Return the request for the whole series that `instance` belongs to."""
    path = f"{root}/studies/{instance.study}/series/{instance.series}"
    return build_get(path, [SERIES_ACCEPT])


def build_metadata(root: str, instance: Instance, *, compressed: bool) -> Message:
    """Return the request for the metadata of the series that `instance` belongs to."""
    path = f"{root}/studies/{instance.study}/series/{instance.series}/metadata"
    return build_get(path, [JSON_ACCEPT, GZIP] if compressed else [JSON_ACCEPT])


def expect_ok(answer: Answer) -> None:
    """Raise unless the answer is 200."""
    if answer.status != 200:
        raise WrongAnswer(f"{answer.head.decode('latin-1')}\n{answer.body[:500]!r}")


def expect_frame(answer: Answer, size: int) -> None:
    """Raise unless the answer is 200 and as long as a frame of `size` bytes and its frame."""
    expect_ok(answer)
    if not size <= answer.length <= size + 1000:
        raise WrongAnswer(f"a frame of {size} bytes came as {answer.length}")


async def verify_frames(connection: Connection, root: str, instance: Instance) -> None:
    """Raise unless every frame of the instance comes byte for byte as it was stored."""
    for number, pixels in enumerate(instance.frames):
        answer = await connection.request(build_frame(root, instance, number), keep=True)
        expect_frame(answer, sum(len(piece) for piece in pixels))
        if b"".join(pixels) not in answer.body:
            raise WrongAnswer(f"frame {number + 1} of {instance.uid} differs")


async def verify_series(connection: Connection, root: str, instances: Sequence[Instance]) -> None:
    """Raise unless every instance of the series is in the answer, byte for byte, once."""
    answer = await connection.request(build_series(root, instances[0]), keep=True)
    expect_ok(answer)
    kind = answer.header("Content-Type") or ""
    boundary = kind.partition("boundary=")[2].split(";")[0].strip().strip('"').encode()
    parts = answer.body.split(b"--" + boundary)[1:-1]
    found = sorted(_digest(part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")) for part in parts)
    wanted = sorted(_digest(b"".join(instance.pieces())) for instance in instances)
    if found != wanted:
        raise WrongAnswer(f"{len(parts)} instances came back; they are not what was stored")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def verify_metadata(connection: Connection, root: str, instances: Sequence[Instance]) -> None:
    """Raise unless the metadata names each instance, with the header's values."""
    message = build_metadata(root, instances[0], compressed=False)
    answer = await connection.request(message, keep=True)
    expect_ok(answer)
    found = orjson.loads(answer.body)
    uids = {entry["00080018"]["Value"][0] for entry in found}
    if len(found) != len(instances) or uids != {instance.uid for instance in instances}:
        raise WrongAnswer(f"metadata of {len(found)} instances, not of {len(instances)}")
    if any(len(entry) < 140 for entry in found):
        raise WrongAnswer("the metadata is not complete")


async def store(connection: Connection, root: str, instances: Sequence[Instance]) -> None:
    """Store instances in requests of at most 100, not measured."""
    for first in range(0, len(instances), 100):
        group = instances[first : first + 100]
        answer = await connection.request(build_store(root, group), keep=True)
        expect_ok(answer)
        stored = orjson.loads(answer.body).get("00081199", {}).get("Value", [])
        if len(stored) != len(group):
            raise WrongAnswer(f"{len(stored)} of {len(group)} instances were stored")
