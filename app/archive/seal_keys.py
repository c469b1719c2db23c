"""The keys that seal the log: Ed25519, made once and kept as the archive's other secrets are.

The seed of each key is a secret of the object store, so that every replica has it, too. Public keys
are kept in the index, and named by the first 16 digits of their SHA-256.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.errors import Unavailable
from app.index.engine import Index
from app.index.seal_keys import list_keys, note_key
from app.index.segments import last_segment
from app.objects.base import SECRETS, ObjectStore

PUBLIC_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealKey:
    """A key that seals; `number` counts from 1."""

    number: int
    private: Ed25519PrivateKey

    @classmethod
    def of(cls, number: int, seed: bytes) -> "SealKey":
        """Return the key of a seed of 32 bytes."""
        return cls(number, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """The name of the public key."""
        return key_id(self.public)

    def sign(self, data: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self.private.sign(data)


def key_id(public: bytes) -> str:
    """Return the name of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def is_signed(public: bytes, signature: bytes, data: bytes) -> bool:
    """Say whether a signature is that of a key for some bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


async def load_key(index: Index, objects: ObjectStore, tenant_id: int, number: int) -> SealKey:
    """Return a key of the archive; the first one is made at the first call.

    None is made where the index knows one of this number, or where something was sealed: then its
    secret is lost.

    Raises:
        Unavailable: index or store do not answer, or the secret is lost, or not that of the key.
    """
    known = {one.number: one.public for one in await list_keys(index, tenant_id)}
    name = f"{seal_secret(tenant_id)}{number}"
    if number in known or await last_segment(index, tenant_id):
        seed = (await objects.all_secrets()).get(name)
        if seed is None:
            raise Unavailable(f"the secret of seal key {number} is lost: {_bring_back(name)}")
        key = SealKey.of(number, seed)
    else:
        key = await read_secret(objects, tenant_id, number)
    if number not in known:
        await note_key(index, tenant_id, number, key.public)
    elif known[number] != key.public:
        raise Unavailable(
            f"the secret of seal key {number} is not the one that sealed before: "
            f"{_bring_back(name)}"
        )
    return key


def _bring_back(name: str) -> str:
    """Say where a secret comes from."""
    return (
        f"put {SECRETS}/{name} back beside the objects, from a copy or from a backup's secrets "
        "(docs/receipts.md says how)"
    )


def missing_secrets(
    known: Iterable[tuple[int, int, bytes]], secrets: Mapping[str, bytes]
) -> list[str]:
    """Return the names of the keys' secrets that are not among those that are there, or differ.

    A key is a tenant, a number and a public key.
    """
    names = {f"{seal_secret(tenant)}{number}": public for tenant, number, public in known}
    return [
        name
        for name, public in names.items()
        if name not in secrets or SealKey.of(0, secrets[name]).public != public
    ]


async def read_secret(objects: ObjectStore, tenant_id: int, number: int) -> SealKey:
    """Return the key of a number as the store has it, made if there is none.

    Raises:
        Unavailable: the store does not answer.
    """
    return SealKey.of(number, await objects.secret(f"{seal_secret(tenant_id)}{number}"))


def seal_secret(tenant_id: int) -> str:
    """Return how the names of the secrets begin that are a tenant's seeds; the number follows."""
    return f"seal-{tenant_id}-"
