"""Each route, asked for what it may answer otherwise: the contract names every such status."""

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.web.auth import Identity, OneKey
from tests.dicomweb.conftest import HOST
from tests.dicomweb.test_wado_rs import path_of, store
from tests.factories import make_dataset, make_part10

NAMED = {"{path}": "7FE00010", "{code}": "113001^DCM", "{frames}": "1", "{uid}": "1.2.6"} | {
    "{rule}": "7",
    "{transaction}": "1.2.9",
    "{label}": "teaching",
    "{ticket}": "7",
    "{override}": "7",
    "{name}": "ct-1",
    "{step}": "S1",
    "{ae_title}": "STATION",
    "{claim}": "0" * 32,
}
OPEN = {"/health/live", "/health/ready", "/dicom-web"}
DATASET = make_dataset()
UIDS = {
    "{study}": DATASET.StudyInstanceUID,
    "{series}": DATASET.SeriesInstanceUID,
    "{instance}": DATASET.SOPInstanceUID,
}
WADO = {
    "requestType": "WADO",
    "studyUID": DATASET.StudyInstanceUID,
    "seriesUID": DATASET.SeriesInstanceUID,
    "objectUID": DATASET.SOPInstanceUID,
}
ODD: tuple[dict[str, str], ...] = (
    {"accept": "text/x-nothing"},
    {"if-none-match": "*"},
    {"if-match": '"another"'},
    {"range": "bytes=0-1", "accept": "application/octet-stream, application/dicom, image/jpeg"},
    {"range": "bytes=99999999-", "accept": "application/octet-stream, application/dicom"},
    {"content-type": "text/x-nothing"},
    {"content-type": "application/dicom", "content-length": str(2**50)},
    {"content-type": "application/dicom", "accept": "text/x-nothing"},
)
EXPECTED = {
    "search": {"400", "401", "403", "406"},
    "store": {"400", "401", "403", "406", "413", "415"},
    "frames": {"206", "304", "401", "403", "404", "406", "410", "412", "416"},
    "metadata": {"304", "400", "401", "403", "404", "406", "410", "412"},
    "reject": {"400", "401", "403", "404", "410"},
}


class Asked:
    """What a client saw of each operation, and what the contract has of it."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.paths: Mapping[str, Any] = app.openapi()["paths"]
        self.seen: dict[tuple[str, str], set[str]] = {}

    async def ask(self, uids: Mapping[str, str], *, changes: bool, **named: Any) -> None:
        """Ask every operation once."""
        client_at = named.pop("client_at", "127.0.0.1")
        transport = httpx.ASGITransport(self.app, client=(client_at, 1))
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
            for template, item in self.paths.items():
                path = template
                for name, value in {**NAMED, **uids}.items():
                    path = path.replace(name, value)
                for method in item:
                    if template == "/api/v1/changes" or (method == "delete" and not changes):
                        continue
                    if "/reject" in template and not changes:
                        continue
                    if template.endswith("/restore") and changes and uids is UIDS:
                        continue  # what was deleted has to stay so
                    params = WADO if template == "/wado" else {}
                    answer = await client.request(method, path, params=params, **named)
                    self.seen.setdefault((method, template), set()).add(str(answer.status_code))


@pytest.fixture
async def asked(app: FastAPI) -> Asked:
    """Every operation of the contract, asked for what goes otherwise."""
    asked = Asked(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"{HOST}/dicom-web") as client:
        await store(client, make_part10(DATASET))
        for headers in ODD:
            await asked.ask(UIDS, changes=False, headers=headers)
        await asked.ask(UIDS, changes=True, client_at="203.0.113.5")
        await asked.ask(dict.fromkeys(UIDS, "1.02"), changes=True)
        await asked.ask(dict.fromkeys(UIDS, "1.2.3"), changes=True)
        assert (await client.delete(path_of(DATASET))).status_code == 204
        await asked.ask(UIDS, changes=True)
        app.state.identity = Identity([OneKey(hashlib.sha256(b"key").digest())])
        await asked.ask(UIDS, changes=True)
    return asked


@pytest.mark.slow
async def test_each_status_that_is_sent_is_in_the_contract(asked: Asked) -> None:
    missing = {
        operation: statuses - set(asked.paths[operation[1]][operation[0]]["responses"])
        for operation, statuses in asked.seen.items()
    }
    assert {operation: more for operation, more in missing.items() if more} == {}
    series = "/dicom-web/studies/{study}/series/{series}"
    for (method, template), what in {
        ("get", "/dicom-web/studies"): "search",
        ("post", "/dicom-web/studies"): "store",
        ("get", f"{series}/instances/{{instance}}/frames/{{frames}}"): "frames",
        ("get", f"{series}/metadata"): "metadata",
        ("post", f"{series}/reject/{{code}}"): "reject",
    }.items():
        assert asked.seen[method, template] >= EXPECTED[what] - {"400"}, what
        assert set(asked.paths[template][method]["responses"]) >= EXPECTED[what]


async def test_each_media_type_of_metadata_is_answered(
    app: FastAPI, client: httpx.AsyncClient
) -> None:  # M-18
    await store(client, make_part10(make := make_dataset()))
    instance = path_of(make)
    paths = app.openapi()["paths"]
    one = "/dicom-web/studies/{study}/series/{series}/instances/{instance}/metadata"
    every = {"application/dicom+json", 'multipart/related; type="application/dicom+xml"'}
    for template, url, more in (
        (one, instance, {"application/dicom+xml"}),
        (one.replace("/instances/{instance}", ""), instance.rpartition("/instances")[0], set()),
        ("/dicom-web/studies/{study}/metadata", instance.partition("/series")[0], set()),
    ):
        listed = set(paths[template]["get"]["responses"]["200"]["content"])
        assert listed == every | more
        for media_type in every | {"application/dicom+xml"}:
            answer = await client.get(f"{url}/metadata", headers={"accept": media_type})
            assert answer.status_code == (200 if media_type in listed else 406)
