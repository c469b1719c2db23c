"""Encryption in the format age, over real keys."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pyrage import decrypt, x25519

from app.dicom.limits import Limits
from app.errors import InvalidRequest, Unavailable
from app.objects.envelope import decrypted, encrypted, read_identities, read_recipients
from app.objects.staged import Staged
from app.objects.staging import Staging

SIZES = [0, 1, 65_536, 3_000_000, 9_000_000]


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging", Limits())


async def staged(staging: Staging, data: bytes) -> Staged:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 2**20):
            yield data[start : start + 2**20]

    return await staging.stage(chunks())


async def all_of(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_encrypted_is_read_again_by_its_key(staging: Staging, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    identity = x25519.Identity.generate()
    secret = await all_of(encrypted(await staged(staging, data), [identity.to_public()]))
    assert decrypt(secret, [identity]) == data
    assert await all_of(decrypted(await staged(staging, secret), [identity])) == data


async def test_what_was_changed_or_cut_off_is_an_error(staging: Staging) -> None:
    identity = x25519.Identity.generate()
    data = bytes(3_000_000)
    secret = await all_of(encrypted(await staged(staging, data), [identity.to_public()]))
    for wrong in (secret[:-1], secret[:-100] + b"x" + secret[-99:], b"", b"no age at all"):
        with pytest.raises(Unavailable, match="cannot be read"):
            await all_of(decrypted(await staged(staging, wrong), [identity]))


async def test_who_stops_reading_leaves_no_thread_behind(staging: Staging) -> None:
    identity = x25519.Identity.generate()
    chunks = encrypted(await staged(staging, bytes(9_000_000)), [identity.to_public()])
    assert await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]


def test_keys_are_words_or_lines_of_files(tmp_path: Path) -> None:
    one, two = x25519.Identity.generate(), x25519.Identity.generate()
    listed = tmp_path / "recipients"
    listed.write_text(f"# who may read\n{two.to_public()}\n\n")
    found = read_recipients([str(one.to_public()), str(listed)])
    assert [str(key) for key in found] == [str(one.to_public()), str(two.to_public())]
    key = tmp_path / "key"
    key.write_text(f"# created: 2026\n{one}\n")
    assert [str(identity) for identity in read_identities(key)] == [str(one)]
    assert read_identities(None) == []


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    for word in ("age1nonsense", "nobody", str(tmp_path)):
        with pytest.raises(InvalidRequest, match="no public key"):
            read_recipients([word])
    empty = tmp_path / "key"
    empty.write_text("nonsense\n")
    for path in (empty, tmp_path / "none"):
        with pytest.raises(InvalidRequest, match="no private key"):
            read_identities(path)
