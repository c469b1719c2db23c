"""Receipts on the real index and store, proved by a verifier that knows nothing but RFC 6962."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.archive.context import Archive
from app.archive.receipts import Proof, Receipts, give_receipt, give_receipts
from app.archive.removal import delete, reject, restore
from app.archive.rotation import read_keys
from app.dicom.uids import InstanceRef, StudyRef
from app.errors import Forbidden, Gone, NotFound, Unavailable
from app.objects.base import segment_key
from app.rights import Principal, Scope, Verb
from tests.archive.test_merkle import root_from
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10, make_series, new_uid


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


def ref_of(dataset: Any) -> InstanceRef:
    return InstanceRef(
        str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)
    )


async def proven(archive: Archive, proof: Proof) -> dict[str, Any]:
    """Return the event that a proof proves, with the public key alone."""
    (key,) = await read_keys(archive, Principal("test"))
    Ed25519PublicKey.from_public_bytes(key.public).verify(proof.signature, proof.head)
    head = json.loads(proof.head)
    root = root_from(proof.line, proof.index, head["entries"], list(proof.path))
    assert root.hex() == head["root"]
    event: dict[str, Any] = json.loads(proof.line)
    return event


def only(found: Receipts) -> Proof:
    (proof,) = found.proofs.values()
    return proof


async def test_a_receipt_is_pending_and_then_proven(archive: Archive, principal: Principal) -> None:
    dataset = make_dataset()
    data, ref = make_part10(dataset), ref_of(dataset)
    await store(archive, principal, data)
    found = await give_receipt(archive, principal, ref)
    (receipt,) = found.receipts
    assert receipt.event is not None
    assert found.proofs == {}
    accepted = receipt.accepted
    assert (accepted.sha256, accepted.size) == (hashlib.sha256(data).digest(), len(data))
    assert accepted.dataset_sha256 != accepted.sha256
    await archive.sealer.seal_waiting()
    event = await proven(archive, only(await give_receipt(archive, principal, ref)))
    assert event["kind"] == "accepted"
    digest, _ = event["payload"]["series"][ref.series][ref.instance]
    assert digest == accepted.sha256.hex()


async def test_every_event_among_many_has_its_proof(archive: Archive, principal: Principal) -> None:
    study = new_uid()
    for number in range(7):
        await store(archive, principal, make_part10(StudyInstanceUID=study))
        await store(archive, principal, make_part10())
        if number in {2, 5}:
            await archive.sealer.seal_waiting()
    found = await give_receipts(archive, principal, StudyRef(study), 0, 100)
    assert len(found.receipts) == 7
    assert found.following is None
    sealed = [one for one in found.receipts if one.event in found.proofs]
    assert len(sealed) == 6
    assert {found.proofs[one.event].number for one in sealed if one.event} == {1, 2}
    for one in sealed:
        assert one.event is not None
        event = await proven(archive, found.proofs[one.event])
        ref = one.accepted.ref
        assert event["payload"]["series"][ref.series][ref.instance][0] == one.accepted.sha256.hex()


async def test_instances_of_one_event_share_its_proof_over_pages(
    archive: Archive, principal: Principal
) -> None:
    series = make_series(5)
    await store(archive, principal, *map(make_part10, series))
    await archive.sealer.seal_waiting()
    study, seen, after = StudyRef(str(series[0].StudyInstanceUID)), [], 0
    for expected in (2, 2, 1):
        found = await give_receipts(archive, principal, study, after, 2)
        assert len(found.receipts) == expected
        assert len(found.proofs) == 1
        seen += [one.accepted.ref.instance for one in found.receipts]
        after = found.following or 0
    assert after == 0
    assert sorted(seen) == sorted(str(dataset.SOPInstanceUID) for dataset in series)


async def test_what_was_brought_back_has_the_receipt_of_its_return(
    archive: Archive, principal: Principal
) -> None:
    dataset = make_dataset()
    ref = ref_of(dataset)
    await store(archive, principal, make_part10(dataset))
    await archive.sealer.seal_waiting()
    before = only(await give_receipt(archive, principal, ref))
    await reject(archive, principal, StudyRef(ref.study), "113001^DCM")
    with pytest.raises(Gone):
        await give_receipt(archive, principal, ref)
    await restore(archive, principal, StudyRef(ref.study))
    after = only(await give_receipt(archive, principal, ref))
    assert after.number > before.number
    assert (await proven(archive, after))["kind"] == "accepted"


async def test_who_may_not_see_gets_no_receipt(archive: Archive, principal: Principal) -> None:
    dataset = make_dataset()
    ref = ref_of(dataset)
    await store(archive, principal, make_part10(dataset))
    other = Principal("site", scope=Scope(studies=frozenset({new_uid()})))
    blind = Principal("storer", verbs=frozenset({Verb.STORE}))
    for asks, error in ((other, NotFound), (blind, Forbidden)):
        with pytest.raises(error):
            await give_receipt(archive, asks, ref)
        with pytest.raises(error):
            await give_receipts(archive, asks, StudyRef(ref.study), 0, 10)
    with pytest.raises(NotFound):
        await give_receipt(archive, principal, InstanceRef(new_uid(), ref.series, ref.instance))
    await delete(archive, principal, StudyRef(ref.study))
    with pytest.raises(Gone):
        await give_receipts(archive, principal, StudyRef(ref.study), 0, 10)
    with pytest.raises(NotFound):
        await give_receipts(archive, other, StudyRef(ref.study), 0, 10)


@pytest.mark.parametrize("harm", ["missing", "no segment", "another one", "entry"])
async def test_a_damaged_segment_proves_nothing(
    archive: Archive, principal: Principal, tmp_path: Path, harm: str
) -> None:
    dataset = make_dataset()
    for one in (dataset, make_dataset()):
        await store(archive, principal, make_part10(one))
        await archive.sealer.seal_waiting()
    path, other = (tmp_path / "objects" / segment_key(1, number) for number in (1, 2))
    path.chmod(0o600)
    if harm == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        digest = hashlib.sha256(make_part10(dataset)).hexdigest().encode()
        changed = {
            "no segment": data[:-2],
            "another one": other.read_bytes(),
            "entry": data.replace(digest, digest[::-1]),
        }
        path.write_bytes(changed[harm])
    with pytest.raises(Unavailable, match=r"is missing|not a segment|not the one|is damaged"):
        await give_receipt(archive, principal, ref_of(dataset))
