"""Receipts of what is stored, the keys that prove them, and the manifest of a day."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.archive.manifests import open_manifest
from app.archive.receipts import MOST, Proof, Receipt, Receipts, give_receipt, give_receipts
from app.archive.rotation import read_keys
from app.archive.seal_keys import key_id
from app.archive.segment import moment
from app.web import contract
from app.web.deps import ArchiveDep, InstancePath, PrincipalDep, StudyPath
from app.web.responses import PRIVATE, json_response

router = APIRouter(prefix="/api/v1/receipts", tags=["Receipts"])

Day = Annotated[
    str,
    Path(json_schema_extra={"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}, description="UTC"),
]


@router.get("/keys", responses=contract.FEED)
async def get_keys(archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Return the public keys (Ed25519) that seal or have sealed the log, the newest last."""
    keys = [
        {
            "key": key_id(one.public),
            "public": one.public.hex(),
            "number": one.number,
            "made_at": moment(one.made_at),
        }
        for one in await read_keys(archive, principal)
    ]
    return json_response({"keys": keys})


@router.get("/studies/{study}", responses=contract.RECEIPT)
async def get_study_receipts(
    ref: StudyPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[int, Query(ge=0, lt=2**63, description="`next` of the answer before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Receipts of one answer")] = MOST,
) -> Response:
    """Return receipts of a Study's Instances, and the proofs of the events that accepted them."""
    found = await give_receipts(archive, principal, ref, after, limit)
    body = {
        "receipts": [_receipt(one, found) for one in found.receipts],
        "proofs": {str(position): _proof(proof) for position, proof in found.proofs.items()},
        "next": found.following,
    }
    return json_response(body)


@router.get("/studies/{study}/series/{series}/instances/{instance}", responses=contract.RECEIPT)
async def get_instance_receipt(
    ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Return the receipt of an Instance, with its proof once it is sealed."""
    found = await give_receipt(archive, principal, ref)
    (one,) = found.receipts
    proof = found.proofs.get(one.event) if one.event else None
    return json_response({**_receipt(one, found), "proof": _proof(proof) if proof else None})


@router.get("/manifests/{day}", responses=contract.RECEIPT)
async def get_manifest(day: Day, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Return what was sealed on a day (UTC), signed, for `fileroom verify --manifest`."""
    chunks = await open_manifest(archive, principal, day)
    return StreamingResponse(chunks, headers=PRIVATE, media_type="application/json")


def _receipt(one: Receipt, found: Receipts) -> dict[str, Any]:
    accepted = one.accepted
    return {
        "study": accepted.ref.study,
        "series": accepted.ref.series,
        "instance": accepted.ref.instance,
        "sha256": accepted.sha256.hex(),
        "dataset_sha256": accepted.dataset_sha256.hex(),
        "size": accepted.size,
        "stores": list(one.stores),
        "stored_at": moment(accepted.stored_at),
        "state": "sealed" if one.event in found.proofs else "pending",
        "event": str(one.event) if one.event else None,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "segment": proof.number,
        "head": proof.head.decode(),
        "signature": proof.signature.hex(),
        "key": proof.key,
        "root": proof.root.hex(),
        "entries": proof.entries,
        "index": proof.index,
        "leaf": proof.line.decode(),
        "path": [beside.hex() for beside in proof.path],
    }
