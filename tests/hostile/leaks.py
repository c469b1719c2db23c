"""Every operation of the contract, asked with names of patients and with secrets wherever a client
can put one, good and bad. What is then said of it must hold none of them: see `test_leaks`."""

import base64
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from app.dicom.non_patient import CATEGORIES
from tests.factories import make_dataset, make_non_patient, make_part10, new_uid
from tests.multipart import RELATED, make_multipart

MARK = "kanari"
"""Stands in every value of a patient, and in every secret that a client chooses."""
NAME = "Kanari^Piep"
PATIENT = {
    "PatientName": NAME,
    "PatientID": "KANARI-4711",
    "OtherPatientNames": "Kanari^Other",
    "ReferringPhysicianName": "Kanari^Doctor",
    "AccessionNumber": "KANARI-ACC",
    "StudyDescription": "Kanari study",
    "InstitutionName": "Kanari clinic",
    "PatientComments": "kanari comment",
    "StudyID": "kanari",
}
DICOM, DICOM_JSON = "application/dicom", "application/dicom+json"
MISPLACED = (NAME, "KANARI-4711", "1.2.840.kanari", "kanari/../kanari", "\x00kanari")
OF_OPERATORS = ("unknown", "../etc/passwd", "\x00", "<b>")
OPERATORS = frozenset({"label", "name", "ae_title"})
"""Names of keys, labels and AEs: they are of no patient, and told to who asks for them."""
Variant = tuple[str, dict[str, Any]]


@dataclass
class Secrets:
    """What the archive made, which nobody may be told again."""

    administrator: str
    key: str = ""
    ticket: str = ""
    session: str = ""
    password: str = "kanari battery staple"
    issued: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        """Return them."""
        made = [self.administrator, self.key, self.ticket, self.session, self.password]
        return [one for one in [*made, *self.issued] if one]


def basic(name: str, password: str) -> str:
    """Return the value of `Authorization` for a name and a password."""
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def forged() -> str:
    """Return a token of nobody's."""
    parts = ({"alg": "none", "kid": "kanari"}, {"sub": "kanari", "iss": "https://kanari.example"})
    coded = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode() for one in parts)
    return f"{'.'.join(one.rstrip('=') for one in coded)}.kanarikanari"


def instance(**more: Any) -> bytes:
    """Return an Instance of the patient."""
    return make_part10(make_dataset(**{**PATIENT, **more}))


def bad_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield bodies, and what they claim to be, with what nobody may repeat in them."""
    study = new_uid()
    whole = instance(StudyInstanceUID=study)
    named = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": NAME}]}}
    yield DICOM, whole[: len(whole) // 2]
    yield DICOM, b"kanari" * 100
    yield DICOM, whole.replace(study.encode(), b"1.kanari".ljust(len(study), b"0"))
    yield RELATED, make_multipart(whole[:700], b"kanari", instance(SOPInstanceUID=new_uid()))
    yield RELATED, b"--b\r\nkanari\r\n\r\nkanari"
    yield RELATED, b"kanari"
    yield "multipart/related; type=kanari; boundary=b", b"kanari"
    yield DICOM_JSON, json.dumps([named]).encode()
    yield DICOM_JSON, json.dumps([{**named, "00100030": {"vr": "DA", "Value": [NAME]}}]).encode()
    yield DICOM_JSON, json.dumps([{"kanari": NAME}]).encode()
    yield DICOM_JSON, b'[{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Kanari'
    yield "application/dicom+xml", f"<NativeDicomModel><other>{NAME}</other>".encode()
    yield "application/json", b'{"reason": "kanari", "name": "kanari'
    yield "application/json", b'{"reason": ["kanari"], "name": {"kanari": 1}, "study": "kanari"}'
    yield "application/json", b'{"kanari": "kanari"}'
    yield "application/kanari", b"kanari"


class World:
    """What there is to ask for, made anew when it was deleted."""

    def __init__(self, client: httpx.Client, secrets: Secrets) -> None:
        self.client, self.secrets = client, secrets
        self.admin = {"Authorization": f"Bearer {secrets.administrator}"}
        self.names: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def make(self) -> None:
        """Store an Instance of a new Study, and make one of all else that a path can name."""
        uids = {"study": new_uid(), "series": new_uid(), "instance": new_uid(), "uid": new_uid()}
        data = instance(
            StudyInstanceUID=uids["study"],
            SeriesInstanceUID=uids["series"],
            SOPInstanceUID=uids["instance"],
        )
        self._send("POST", "/dicom-web/studies", content=data, headers={"Content-Type": DICOM})
        named: dict[str, Any] = {"name": f"key-{next(self._numbers)}", "roles": ["viewer"]}
        self.secrets.issued.append(self._send("POST", "/api/v1/keys", json=named).json()["key"])
        ticket = self._send("POST", "/api/v1/tickets", json={"study": uids["study"]}).json()
        self.secrets.issued.append(ticket["ticket"])
        self.secrets.ticket = ticket["ticket"]
        rule = {"name": f"rule {named['name']}", "action": "keep", "days": 9}
        made = self._send("POST", "/api/v1/retention-rules", json=rule).json()
        self.names = {
            **uids,
            "label": "spare",
            "frames": "1",
            "path": "7FE00010",
            "code": "113001^DCM",
            "day": "2026-01-31",
            "transaction": new_uid(),
            "name": named["name"],
            "ticket": str(ticket["number"]),
            "rule": str(made["id"]),
            "ae_title": "STATION",
            "step": "S1",
            "claim": "0" * 32,
        }

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.admin, "Accept": "application/json", **more.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **more)
        assert answer.is_success, (path, answer.text)
        return answer

    def path(self, template: str, **other: str) -> str:
        """Return a path of what there is, but for what is named."""
        names = {**self.names, **{name: quote(value, safe="") for name, value in other.items()}}
        if template.startswith("/api/v1/labels") and "label" not in other:
            names["label"] = "spare"
        return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "1"), template)

    def variants(
        self, method: str, template: str, operation: Mapping[str, Any]
    ) -> Iterator[Variant]:
        """Yield paths and arguments of all requests for an operation, the good one last."""
        for name in re.findall(r"\{(\w+)\}", template):
            for value in OF_OPERATORS if name in OPERATORS else MISPLACED:
                yield self.path(template, **{name: value}), {"headers": self.admin}
        path = self.path(template)
        for name in (*_parameters(operation, "query"), "PatientName", "accept", "kanari"):
            for value in (NAME, "kanari\r\nkanari: kanari", "20200101-kanari"):
                yield path, {"headers": self.admin, "params": {name: value}}
        for name in (*_parameters(operation, "header"), *_HEADERS):
            yield path, {"headers": {**self.admin, name: _HEADERS.get(name, "kanari")}}
        for shown in self._credentials():
            yield path, shown
        if method in {"POST", "PUT"}:
            for content_type, body in bad_bodies():
                headers = {**self.admin, "Content-Type": content_type}
                yield path, {"headers": headers, "content": body}
                yield path, {"headers": {**headers, "Content-Encoding": "gzip"}, "content": body}
        yield path, self._good(template)

    def _credentials(self) -> Iterator[dict[str, Any]]:
        secrets = self.secrets
        for value in (
            "Bearer kanari-is-no-key",
            "Bearer frk_kanari",
            "Bearer frt_kanari",
            f"Bearer {forged()}",
            f"Bearer {secrets.key}",
            basic("kanari", "kanari"),
            basic("meier", "kanari wrong"),
            basic("meier", secrets.password),
            "Basic kanari",
            "Kanari kanari",
        ):
            yield {"headers": {"Authorization": value}}
        yield {"params": {"ticket": secrets.ticket}}
        yield {"params": {"ticket": "frt_kanari", "PatientName": NAME}}
        yield {"headers": {"Cookie": f"fileroom={secrets.session}"}}
        yield {"headers": {"Cookie": "fileroom=kanari; __Host-fileroom=kanari"}}
        yield {"headers": {**self.admin, "Cookie": f"fileroom={secrets.session}; fileroom=kanari"}}

    def _good(self, template: str) -> dict[str, Any]:
        """Return what is asked for well; a Store is of what there is, which changes nothing."""
        own = {
            "/api/v1/tickets": {"study": self.names["study"]},
            "/api/v1/keys": {"name": f"key-{next(self._numbers)}", "roles": ["viewer"]},
            "/api/v1/retention-rules": {"name": new_uid(), "action": "keep", "days": 9},
        }
        if template in own:
            return {"headers": self.admin, "json": own[template]}
        if template.endswith("/hold"):
            return {"headers": self.admin, "json": {"reason": "kanari case"}}
        category = template.split("/")[2] if template.startswith("/dicom-web/") else ""
        if category in CATEGORIES:
            sop_class = min(CATEGORIES[category].sop_classes)
            data = make_part10(make_non_patient(sop_class, SOPInstanceUID=self.names["uid"]))
        else:
            data = instance(StudyInstanceUID=self.names["study"])
        headers = {**self.admin, "Content-Type": DICOM, "Accept": "*/*"}
        return {"headers": headers, "content": data}


_HEADERS = {
    "Accept": "application/kanari",
    "Accept-Encoding": "kanari",
    "Range": "bytes=kanari",
    "If-Match": '"kanari"',
    "If-None-Match": '"kanari"',
    "If-Unmodified-Since": "kanari",
    "Last-Event-ID": "kanari",
    "Origin": "https://kanari.example",
    "Referer": "https://kanari.example/?name=kanari",
    "User-Agent": "kanari",
    "X-Forwarded-For": "kanari",
    "Forwarded": "for=kanari;host=kanari",
    "Fileroom-Calling-AE": "KANARI",
}


def _parameters(operation: Mapping[str, Any], where: str) -> list[str]:
    return [it["name"] for it in operation.get("parameters", ()) if it["in"] == where]
