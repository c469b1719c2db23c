"""The access matrix: its table, its callers, and what there is to be asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from app.archive.api_keys import WantedKey, make_key
from app.archive.commitment import request_commitment
from app.archive.context import Archive
from app.archive.forwarding import add_rule as add_forwarding_rule
from app.archive.forwarding import claim, forward, put_destination
from app.archive.holds import hold_study
from app.archive.labels import label_study
from app.archive.non_patient import delete_non_patient
from app.archive.overrides import break_glass
from app.archive.performed_steps import create_performed_step
from app.archive.removal import delete, reject
from app.archive.retention import add_rule
from app.archive.store import store_instances
from app.archive.tickets import make_ticket
from app.archive.worklist import schedule_steps
from app.dicom.commitment import Reference
from app.dicom.limits import Limits
from app.dicom.non_patient import CATEGORIES
from app.dicom.scheduled_step import read_scheduled_steps
from app.dicom.uids import InstanceRef, NonPatientRef
from app.index.forwarding_rules import Address
from app.index.forwarding_rules import Terms as Forwarded
from app.index.retention_rules import Action, Terms
from app.rights import Principal, Role, Scope, Verb, principal_of
from app.web.auth import Credentials
from tests.archive.test_store import parts
from tests.factories import make_non_patient, make_part10, make_series, new_uid
from tests.procedure_steps import make_order, make_performed

TABLE = Path(__file__).with_name("access_matrix.md")
LABEL, OTHER_LABEL, SPARE = "trial:a", "trial:b", "spare"
PATIENT, OTHER_PATIENT = ("4711", "HOSPITAL"), ("4712", "HOSPITAL")
OPERATOR = Principal("operator")
HIDDEN = ("other label", "other tenant", "other patient", "other ticket")
"""Callers who do not see the Study that is asked for."""
NARROW = ("label", "patient", "ticket", "emergency")
"""Callers who see it, and not all: to them nothing is Gone."""
EMERGENCY = principal_of(
    "emergency", "user", [Role.VIEWER, Role.EMERGENCY], Scope(labels=frozenset({OTHER_LABEL}))
)
"""Somebody of another label, who has opened the Study in an emergency."""
SENDING = (
    *(f"/api/v1/{it}" for it in ("forwarding", "destinations", "commitments")),
    "/dicom-web/modality-",
)
JSON, DICOM_JSON = "application/json", "application/dicom+json"


@dataclass
class World:
    """What a path may name."""

    study: str = field(default_factory=new_uid)
    series: str = field(default_factory=new_uid)
    instance: str = ""
    transaction: str = field(default_factory=new_uid)
    category: str = "hanging-protocols"
    uid: str = field(default_factory=new_uid)
    rule: str = "1"
    label: str = SPARE
    ticket: str = "1"
    override: str = "1"
    name: str = "key-1"
    frames: str = "1"
    path: str = "7FE00010"
    code: str = "113001^DCM"
    step: str = "S1"
    ae_title: str = field(default_factory=lambda: new_uid()[-12:])
    claim: str = "0" * 32
    day: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d}")

    def names(self) -> list[str]:
        """Return the UIDs that nobody may learn of whose they are not."""
        return [self.study, self.series, self.instance]


class Callers:
    """A source of identity: the value of a bearer key is the name of a column of the table.

    What is none, the sources of the application itself are asked for.
    """

    def __init__(self) -> None:
        self.world = World()

    async def principal(self, given: Credentials, _scope: Mapping[str, Any]) -> Principal | None:
        name = given.value.replace("_", " ")
        if name not in ROWS[0].expected:
            return None
        if name == EMERGENCY.name:
            return EMERGENCY
        if name in set(Role):
            return principal_of(name, "key", [Role(name)], Scope())
        everything = frozenset(Verb)
        if name.endswith("ticket"):
            study = new_uid() if name.startswith("other") else self.world.study
            return principal_of(name, "ticket", [Role.VIEWER], Scope(studies=frozenset({study})))
        scopes = {
            "label": Scope(labels=frozenset({LABEL})),
            "other label": Scope(labels=frozenset({OTHER_LABEL})),
            "other tenant": Scope(2),
            "patient": Scope(patients=frozenset({PATIENT})),
            "other patient": Scope(patients=frozenset({OTHER_PATIENT})),
        }
        return Principal(name, scopes[name], everything, "key")


@dataclass(frozen=True)
class Row:
    """An operation, and the status for each caller."""

    method: str
    path: str
    expected: Mapping[str, int]

    @property
    def operation(self) -> tuple[str, str]:
        return self.method, self.path.partition("?")[0]


def read_table() -> list[Row]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (_, _, *callers), _, *rows = cells
    return [Row(one[0], one[1].strip("`"), dict(zip(callers, map(int, one[2:]), strict=True)))
            for one in rows]  # fmt: skip


ROWS = read_table()
READS = [row for row in ROWS if row.method in {"GET", "OPTIONS"}]
CHANGES = [row for row in ROWS if row not in READS]


async def make_study(archive: Archive, world: World) -> None:
    """Store two Instances of a Study with labels; the first one is the one that paths name."""
    patient: dict[str, Any] = {"PatientID": PATIENT[0], "IssuerOfPatientID": PATIENT[1]}
    names = {"StudyInstanceUID": world.study, "SeriesInstanceUID": world.series}
    made = make_series(2, **patient, **names)
    world.instance = made[0].SOPInstanceUID
    report = await store_instances(archive, OPERATOR, parts(*map(make_part10, made)))
    assert len(report.stored) == 2
    await label_study(archive, OPERATOR, world.study, [LABEL])
    async with archive.index.writing() as connection:  # there may be only so many
        await connection.execute("DELETE FROM emergency_override")
    opened = await break_glass(archive, EMERGENCY, world.study, "an emergency", 60)
    world.override = str(opened.number)


async def make_protocol(archive: Archive, world: World) -> None:
    sop_class = min(CATEGORIES[world.category].sop_classes)
    data = make_part10(make_non_patient(sop_class, SOPInstanceUID=world.uid))
    ref = NonPatientRef(world.category)
    assert (await store_instances(archive, OPERATOR, parts(data), ref)).stored


async def make_commitment(archive: Archive, world: World) -> None:
    named = Reference("1.2", world.instance)
    bridge = replace(OPERATOR, calling_ae="CT01")
    assert await request_commitment(archive, bridge, world.transaction, [named])


def order(world: World) -> dict[str, Any]:
    """Return a Data Set of the worklist for the Study."""
    patient = {"PatientID": PATIENT[0], "IssuerOfPatientID": PATIENT[1]}
    return make_order(StudyInstanceUID=world.study, **patient)


async def make_steps(archive: Archive, world: World) -> None:
    """Schedule a step of the Study, and begin one."""
    await schedule_steps(archive, OPERATOR, read_scheduled_steps(order(world), Limits()))
    await create_performed_step(archive, OPERATOR, world.uid, make_performed(world.study))


async def make_destination(archive: Archive, world: World) -> None:
    await put_destination(archive, OPERATOR, Address(world.ae_title, "10.0.0.1", 104))


async def prepare_sending(archive: Archive, row: Row, world: World) -> None:
    """Make what a change of the worklist, of forwarding or of a report to an AE needs."""
    method, path = row.operation
    if path.endswith("/reported"):
        await make_commitment(archive, world)
    if path.endswith("/{step}") and method == "DELETE":
        await make_steps(archive, world)
    if "/forwarding" in path or method == "DELETE":
        await make_destination(archive, world)
    if path.endswith("/{rule}"):
        made = await add_forwarding_rule(archive, OPERATOR, Forwarded(world.ae_title))
        world.rule = str(made.id)
    if "/claims" in path:
        assert await forward(archive, OPERATOR, world.ae_title, world.study)
    if "{claim}" in path:
        claimed = await claim(archive, OPERATOR, world.ae_title, 1, 60)
        assert claimed is not None
        world.claim = claimed[0]


async def prepare(archive: Archive, row: Row, world: World) -> None:
    """Make what a change needs: what is to be brought back, taken off, or taken away."""
    method, path = row.operation
    if "{category}" in path:
        if method != "POST" or path.endswith("/restore"):
            await make_protocol(archive, world)
        if path.endswith("/restore"):
            await delete_non_patient(archive, OPERATOR, world.category, world.uid)
        return
    if path.startswith(SENDING):
        await make_study(archive, world)
        await prepare_sending(archive, row, world)
        return
    if path.startswith("/api/v1/overrides"):
        await make_study(archive, world)
    if path.startswith("/api/v1/tickets"):
        await make_study(archive, world)
        ticket, _ = await make_ticket(archive, OPERATOR, world.study, 5, {Verb.VIEW})
        world.ticket = str(ticket.number)
    if "{name}" in path:
        await make_key(archive, OPERATOR, WantedKey(world.name, ["viewer"]))
    if "{rule}" in path:
        made = await add_rule(archive, OPERATOR, Terms(world.study, Action.KEEP, 9))
        world.rule = str(made.id)
    if "{study}" not in path:
        return
    await make_study(archive, world)
    first = InstanceRef(world.study, world.series, world.instance)
    match method, path.rpartition("/")[2]:
        case "DELETE", "hold":
            await hold_study(archive, OPERATOR, world.study, "a case")
        case "DELETE", "reject":
            await reject(archive, OPERATOR, first, "113001^DCM")
        case "POST", "restore":
            await delete(archive, OPERATOR, first)


def content(row: Row, world: World) -> dict[str, Any]:
    """Return the body of a request, and what it is."""
    method, path = row.operation
    if method == "PUT" and path.endswith("/hold"):
        return {"content": json.dumps({"reason": "a case"}), "headers": {"Content-Type": JSON}}
    if path.startswith(SENDING):
        return sent_on(method, path, world)
    if method != "POST":
        return {}
    ours = {
        "/api/v1/tickets": {"study": world.study},
        "/api/v1/overrides": {"study": world.study, "reason": "an emergency"},
        "/api/v1/retention-rules": {"name": new_uid(), "action": "keep", "days": 9},
        "/api/v1/keys": {"name": f"key-{new_uid()[-40:]}", "roles": ["viewer"]},
    }
    if path in ours:
        return {"content": json.dumps(ours[path]), "headers": {"Content-Type": JSON}}
    headers = {"Content-Type": "application/dicom", "Accept": DICOM_JSON}
    if path.endswith("/{transaction}"):
        item = {"00081150": ("UI", ["1.2"]), "00081155": ("UI", [world.instance or new_uid()])}
        sequence = [{tag: {"vr": vr, "Value": value} for tag, (vr, value) in item.items()}]
        body = {"00081199": {"vr": "SQ", "Value": sequence}}
        return {"content": json.dumps(body), "headers": {"Content-Type": DICOM_JSON}}
    if path.endswith(("/{category}", "/{uid}")):
        sop_class = min(CATEGORIES[world.category].sop_classes)
        uid = world.uid if path.endswith("/{uid}") else new_uid()
        data = make_part10(make_non_patient(sop_class, SOPInstanceUID=uid))
        return {"content": data, "headers": headers}
    study = {"/studies": new_uid(), "/studies/{study}": world.study}
    if (named := path.removeprefix("/dicom-web")) in study:
        patient: dict[str, Any] = {"PatientID": PATIENT[0], "IssuerOfPatientID": PATIENT[1]}
        return {
            "content": make_part10(StudyInstanceUID=study[named], **patient),
            "headers": headers,
        }
    return {}


def sent_on(method: str, path: str, world: World) -> dict[str, Any]:
    """Return the same for the worklist, forwarding and reports to AEs."""
    if method not in {"POST", "PUT"} or path.endswith("/reported"):
        return {}
    if "/modality-" in path:
        performed = "/modality-performed" in path
        body = make_performed(world.study) if performed else order(world)
        return {"content": json.dumps(body), "headers": {"Content-Type": DICOM_JSON}}
    bodies: Mapping[str, dict[str, Any]] = {
        "/destinations/{ae_title}": {"host": "10.0.0.2", "port": 104},
        "/forwarding-rules": {"destination": world.ae_title},
        "/forwardings": {"destination": world.ae_title, "study": world.study},
        "/forwardings/claims": {"destination": world.ae_title},
        "/forwardings/claims/{claim}": {"seconds": 60},
        "/forwardings/claims/{claim}/results": {"done": []},
    }
    body = bodies.get(path.removeprefix("/api/v1"), {"ids": [1]})
    return {"content": json.dumps(body), "headers": {"Content-Type": JSON}}


async def ask(
    client: httpx.AsyncClient, row: Row, caller: str, world: World, **headers: str
) -> httpx.Response:
    given = content(row, world)
    if caller != "none":
        headers["Authorization"] = f"Bearer {caller.replace(' ', '_')}"
    given["headers"] = {**given.get("headers", {}), **headers}
    return await client.request(row.method, row.path.format(**vars(world)), **given)


def twin(world: World) -> World:
    """Return names of the same length that nothing here has."""

    def changed(uid: str) -> str:
        return uid[:-1] + str((int(uid[-1]) + 1) % 10)

    uids = {name: changed(getattr(world, name)) for name in ("study", "series", "instance")}
    return World(**{**vars(world), **uids})


def seen(answer: httpx.Response, world: World) -> tuple[int, list[tuple[str, str]], str]:
    """Return all of an answer, without the names that were asked for."""
    text = answer.content.decode("latin-1")
    headers = sorted((name, value) for name, value in answer.headers.items() if name != "date")
    for name in world.names():
        text = text.replace(name, "*")
        headers = [(key, value.replace(name, "*")) for key, value in headers]
    return answer.status_code, headers, text


async def make_all(archive: Archive, world: World) -> None:
    await make_study(archive, world)
    await make_protocol(archive, world)
    await make_commitment(archive, world)
    await make_steps(archive, world)
    await make_destination(archive, world)
    await forward(archive, OPERATOR, world.ae_title, world.study)
    await hold_study(archive, OPERATOR, world.study, "a case")
    await add_rule(archive, OPERATOR, Terms("keep", Action.KEEP, 9))
