"""Mutated Instances and bodies against the whole application, at random: what it survives not.

    python -m pytest tests/hostile/test_fuzz.py          a few, always the same
    FUZZ_SECONDS=1800 python -m pytest tests/hostile/test_fuzz.py    new ones for half an hour

Every answer has to be one of ours (a fault of ours comes out as an exception), what is acknowledged
has to be there byte for byte, and afterwards the archive has to be clean.
"""

import gzip
import random
from contextlib import suppress
from pathlib import Path

from app.web.faults import BrokenOff
from tests.factories import make_part10
from tests.hostile.instances import Raw, jpeg
from tests.hostile.scene import DICOM, Scene
from tests.multipart import RELATED, make_multipart
from tests.raw_elements import DEFLATED
from tests.samples import SAMPLES

ANSWERS = {200, 202, 400, 409, 413, 415}
READS = {200, 206, 400, 404, 406, 409, 413, 503}
"""503: a codec that crashed, or went on for too long, in its own process."""
_LARGEST = 60_000
_PIECES = (
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0",
    b"SQ\0\0\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\r\n--b\r\n", b"\r\n--b--", b"UN", b"\\",
)  # fmt: skip
_RESOURCES = ("metadata", "frames/1", "frames/2", "rendered", "thumbnail", "bulkdata/7FE00010")


def originals() -> list[bytes]:
    """Return Instances to be mutated: made ones, and small samples of other makers."""
    made = [Raw().data(), jpeg().data(), Raw(DEFLATED).data(), make_part10(), make_part10()[132:]]
    small = [path for path in SAMPLES if path.stat().st_size < _LARGEST]
    return made + [Path(path).read_bytes() for path in small]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return an Instance with some bytes changed, moved, doubled, put in or cut off."""
    result = bytearray(data)
    for _ in range(dice.randrange(1, 5)):
        if not result:
            break
        at = min(dice.randrange(len(result)), dice.choice([len(result), 4000, 400]))
        end = min(len(result), at + dice.randrange(1, 64))
        match dice.randrange(6):
            case 0:
                result[at:end] = dice.randbytes(end - at)
            case 1:
                result[at:at] = result[at:end]
            case 2:
                del result[at:end]
            case 3:
                piece = dice.choice(_PIECES)
                result[at : at + len(piece)] = piece
            case 4:
                result[at : at + 1] = bytes([dice.choice([0, 1, 0x7F, 0x80, 0xFF])])
            case _:
                del result[max(at, 300) :]
    return bytes(result)


async def store_mutated(scene: Scene, dice: random.Random, those: list[bytes]) -> None:
    """Store some mutated Instances in one request, and read what is stored in every way."""
    parts = [mutated(dice.choice(those), dice) for _ in range(20)]
    parts = [part for part in parts if b"\r\n--b" not in part]
    answer = await scene.post(make_multipart(*parts), RELATED)
    assert answer.status_code in ANSWERS, answer.text
    for uid, url in scene.stored(answer):
        path = url.partition("/dicom-web")[2]
        if path in scene.kept:
            continue
        got = await scene.client.get(path, headers={"accept": f"{DICOM}; transfer-syntax=*"})
        assert got.status_code == 200
        # what came without group 2, or without a whole one, has one of ours before its Data Set
        data = await stored_bytes(scene, uid)
        assert any(data.endswith(part[-40:]) for part in parts)
        scene.kept[path] = got.content  # which is of another Transfer Syntax for some
        for resource in _RESOURCES:
            with suppress(BrokenOff):  # a later frame cannot be decoded: no clean end
                read = await scene.client.get(f"{path}/{resource}", headers={"accept": "*/*"})
                assert read.status_code in READS, (path, resource, read.status_code)


async def stored_bytes(scene: Scene, uid: str) -> bytes:
    """Return the object of an Instance."""
    where = "SELECT object_key, size FROM instance WHERE sop_instance_uid = $1"
    row = await scene.archive.index.fetchrow(where, uid)
    assert row is not None
    return await scene.archive.objects.read(row["object_key"], 0, row["size"])


async def send_mutated(scene: Scene, dice: random.Random) -> None:
    """Send a mutated body; what it stores is cleared away by nobody, so it stores nothing good."""
    body = make_multipart(*(Raw(study="", meta_instance="1.2").data() for _ in range(3)))
    headers = {}
    if dice.randrange(2):
        body, headers = gzip.compress(body, mtime=0), {"content_encoding": "gzip"}
    answer = await scene.post(mutated(body, dice), RELATED, **headers)
    assert answer.status_code in ANSWERS, answer.text
    assert not scene.stored(answer)
