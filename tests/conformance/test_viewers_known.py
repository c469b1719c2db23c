"""What Weasis and DWV send where callers have to show who they are (CLIENTS.md parts 4 and 5).

Each form as it is documented: Weasis by `webLogin` (Basic), by `-H "Authorization: Bearer …"`, and
by what a manifest adds to each address; DWV by an address alone, or by `requestHeaders`.
"""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from pydicom import Dataset, dcmread

from app.archive.api_keys import WantedKey, make_key
from app.archive.local_users import add_user
from app.archive.store import store_instances
from app.archive.tickets import GIVEN, make_ticket
from app.main import create_app
from app.rights import Principal
from app.settings import Auth, Settings
from tests.archive.test_store import parts
from tests.factories import make_dataset, make_part10

OPERATOR = Principal("operator")
PASSWORD = "a long password: of meier"
WEASIS_INCLUDES = (
    "00080020,00080030,00080050,00080061,00080090,00081030,00100010,00100020,00100021,"
    "00100030,00100040,0020000D,00200010"
)
PART = 'multipart/related;type="application/dicom";transfer-syntax=*'
WADO = "/wado?requestType=WADO&studyUID={S}&seriesUID={E}&objectUID={I}"
WEASIS = (
    (f"/dicom-web/studies?0020000D={{S}}&includefield={WEASIS_INCLUDES}", "*/*"),
    ("/dicom-web/studies?00100020=4711&includefield=0020000D", "*/*"),
    ("/dicom-web/studies/{S}/series?includefield=0008103E,00080060,0020000E,00081190", "*/*"),
    ("/dicom-web/studies/{S}/series/{E}/instances?includefield=00080018,00081190", "*/*"),
    ("/dicom-web/series?0020000E={E}", "*/*"),
    ("/dicom-web/instances?00080018={I}", "*/*"),
    ("/dicom-web/studies/{S}/series/{E}/instances/{I}", PART),
    ("/dicom-web/studies/{S}/series/{E}", PART),
    ("/dicom-web/studies/{S}/series/{E}/thumbnail?viewport=256%2C256", "image/jpeg"),
    (f"{WADO}&contentType=application%2Fdicom", "*/*"),
    (f"{WADO}&contentType=application%2Fdicom&transferSyntax=1.2.840.10008.1.2.1", "*/*"),
    ("/wado?requestType=WADO&studyUID=&seriesUID=&objectUID={I}&contentType=application%2Fdicom",
     "*/*"),
    (f"{WADO}&contentType=image/jpeg&imageQuality=70&rows=256&columns=256", "*/*"),
)  # fmt: skip
DWV = (
    (f"{WADO}&contentType=application/dicom", "*/*"),
    (f"{WADO}&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.1", "*/*"),
    ("/dicom-web/studies/{S}/series/{E}/instances/{I}", "application/dicom"),
    ("/dicom-web/studies/{S}/series/{E}", 'multipart/related; type="application/dicom"'),
)


@dataclass(frozen=True)
class Scene:
    """An archive that asks who asks: a Study, and what a viewer can show for it."""

    client: httpx.AsyncClient
    seen: Dataset
    other: Dataset
    key: str
    ticket: str

    def shown(self, how: str) -> tuple[Mapping[str, str], str]:
        """Return header fields of a viewer, and what it adds to each address."""
        login = base64.b64encode(f"meier:{PASSWORD}".encode()).decode()
        match how:
            case "webLogin":
                return {"Authorization": f"Basic {login}"}, ""
            case "bearer key":
                return {"Authorization": f"Bearer {self.key}"}, ""
            case "bearer ticket":
                return {"Authorization": f"Bearer {self.ticket}"}, ""
            case "ticket":
                return {}, f"ticket={self.ticket}"
        return {}, ""

    async def ask(
        self, url: str, accept: str, how: str, of: Dataset | None = None
    ) -> httpx.Response:
        """Send what a viewer sends for the Study, or for another one."""
        dataset = of or self.seen
        for name, keyword in (
            ("{S}", "StudyInstanceUID"),
            ("{E}", "SeriesInstanceUID"),
            ("{I}", "SOPInstanceUID"),
        ):
            url = url.replace(name, str(dataset[keyword].value))
        headers, more = self.shown(how)
        if more:
            url += ("&" if "?" in url else "?") + more
        return await self.client.get(url, headers={"Accept": accept, **headers})


@pytest.fixture
async def scene(database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """The archive with a user, a key and a ticket."""
    settings = Settings(data_dir=tmp_path, auth=Auth(keys=True, basic=True))
    app = create_app(settings.with_database(database_url))
    async with app.router.lifespan_context(app):
        archive = app.state.archive
        seen, other = make_dataset(PatientID="4711"), make_dataset(PatientID="4712")
        files = parts(make_part10(seen), make_part10(other))
        assert len((await store_instances(archive, OPERATOR, files)).stored) == 2
        await add_user(archive, OPERATOR, "meier", PASSWORD, ["viewer"])
        made = await make_key(archive, OPERATOR, WantedKey("viewer", ["viewer"]))
        _, ticket = await make_ticket(archive, OPERATOR, seen.StudyInstanceUID, 5, GIVEN)
        transport = httpx.ASGITransport(app)
        base = "http://127.0.0.1:8080"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield Scene(client, seen, other, made.text, ticket)


@pytest.mark.parametrize("how", ["webLogin", "bearer key", "bearer ticket", "ticket"])
async def test_weasis_reads_a_study_by_each_of_its_forms(scene: Scene, how: str) -> None:
    for url, accept in WEASIS:
        answer = await scene.ask(url, accept, how)
        assert answer.status_code == 200, (url, answer.text)
        if "contentType=application" in url:
            assert answer.headers["content-type"].startswith("application/dicom")
            read = dcmread(BytesIO(answer.content))
            assert read.SOPInstanceUID == scene.seen.SOPInstanceUID


@pytest.mark.parametrize("how", ["webLogin", "bearer key", "bearer ticket"])
async def test_weasis_goes_on_from_the_retrieve_urls_of_answers(scene: Scene, how: str) -> None:
    """They hold no secret: what Weasis was given as a header goes with each."""
    series = (await scene.ask("/dicom-web/studies/{S}/series", "*/*", how)).json()
    place = series[0]["00081190"]["Value"][0]
    instances = (await scene.ask(f"{place}/instances?includefield=00081190", "*/*", how)).json()
    place = instances[0]["00081190"]["Value"][0]
    assert (await scene.ask(place, PART, how)).status_code == 200


async def test_no_address_of_an_answer_has_a_ticket_in_it(scene: Scene) -> None:
    for url in ("/dicom-web/studies/{S}/series", "/dicom-web/studies/{S}/metadata"):
        answer = await scene.ask(url, "application/dicom+json", "ticket")
        assert answer.status_code == 200
        assert scene.ticket not in answer.text + repr(answer.headers)


@pytest.mark.parametrize("how", ["bearer key", "bearer ticket", "ticket", "webLogin"])
async def test_dwv_gets_whole_files_with_status_200(scene: Scene, how: str) -> None:
    for url, accept in DWV:
        answer = await scene.ask(url, accept, how)
        assert answer.status_code == 200, (url, answer.text)
        kind = "multipart/related" if "multipart" in accept else "application/dicom"
        assert answer.headers["content-type"].startswith(kind)


async def test_a_launch_link_of_dwv_has_its_ticket_within_the_address_that_it_opens(
    scene: Scene,
) -> None:
    """`?input=<address, encoded>`: what DWV opens then is the address as it was."""
    dataset = scene.seen
    address = (
        f"/wado?requestType=WADO&studyUID={dataset.StudyInstanceUID}"
        f"&objectUID={dataset.SOPInstanceUID}&contentType=application/dicom&ticket={scene.ticket}"
    )
    launch = httpx.URL(f"https://dwv.example.org/?input={quote(address, safe='')}")
    opened = await scene.client.get(launch.params["input"])
    assert opened.status_code == 200
    assert opened.headers["content-type"].startswith("application/dicom")
    assert opened.headers["referrer-policy"] == "no-referrer"


async def test_what_a_ticket_is_not_for_is_not_there(scene: Scene) -> None:
    for url, accept in (*WEASIS, *DWV):
        if "00100020" in url:
            continue
        for how in ("ticket", "bearer ticket"):
            answer = await scene.ask(url, accept, how, scene.other)
            assert answer.status_code in {204, 404}, url


async def test_who_shows_nothing_is_asked_for_it(scene: Scene) -> None:
    for url, accept in (*WEASIS, *DWV):
        answer = await scene.ask(url, accept, "nothing")
        assert answer.status_code == 401
        offered = answer.headers["www-authenticate"]
        assert re.findall(r"(\w+) realm=", offered) == ["Bearer", "Basic"]
