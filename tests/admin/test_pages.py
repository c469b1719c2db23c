"""The pages: what they say, and that nothing comes from elsewhere."""

import re
from html.parser import HTMLParser

import httpx
import pytest

from app.admin.pages import FILES, _size
from app.index.embedded import EmbeddedPostgres
from tests.admin.conftest import KEY, Served
from tests.factories import make_part10

PAGES = ("/", "/docs")


class Parsed(HTMLParser):
    """Text and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value:
                (self.linked if tag == "a" else self.loaded).append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_first_page_counts_what_is_stored(client: httpx.AsyncClient) -> None:
    body = make_part10()
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    (await client.post("/dicom-web/studies", content=body, headers=headers)).raise_for_status()
    page = (await client.get("/")).text
    counted = dict(re.findall(r"<dt>(\w+)</dt><dd>([^<]+)</dd>", page))
    assert counted == {
        "studies": "1",
        "series": "1",
        "instances": "1",
        "stored": _size(len(body)),
    }


async def test_the_first_page_says_where_everything_is(client: httpx.AsyncClient) -> None:
    text = Parsed((await client.get("/")).text).text
    base = "http://127.0.0.1:8080"
    for path in ("dicom-web", "wado", "docs", "openapi.json", "health/ready", "metrics"):
        assert f"{base}/{path}" in text
    assert "--data-binary" in text
    assert re.search(r"fileroom import --data-dir /\S+ /path/to/folder", text)
    assert "PatientName=muller*&limit=10" in text


@pytest.mark.parametrize("page", PAGES)
async def test_all_that_a_page_loads_is_served_here(client: httpx.AsyncClient, page: str) -> None:
    parsed = Parsed((await client.get(page)).text)
    assert parsed.loaded
    for address in parsed.loaded:
        assert address.startswith("/static/")
        assert (await client.get(address)).status_code == 200


async def test_every_link_leads_somewhere(client: httpx.AsyncClient) -> None:
    for address in Parsed((await client.get("/")).text).linked:
        assert (await client.get(address)).status_code == 200


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_allows_nothing_from_elsewhere(client: httpx.AsyncClient, page: str) -> None:
    headers = (await client.get(page)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", sorted(FILES))
async def test_files_of_the_pages_are_sent_with_their_type(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.get(f"/static/{name}")
    types = {"css": "text/css", "js": "javascript", "svg": "image/svg+xml"}
    assert types[name.rsplit(".", 1)[1]] in answer.headers["content-type"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "etag" in answer.headers


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", "%2Fetc%2Fpasswd", "home.html"])
async def test_no_other_file_is_sent(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/static/{name}")).status_code == 404


async def test_below_a_path_of_a_proxy_all_addresses_begin_with_it(served: Served) -> None:
    async with served(root_path="/pacs") as client:
        for page in PAGES:
            parsed = Parsed((await client.get(page)).text)
            addresses = [*parsed.loaded, *parsed.linked]
            assert all(address.startswith("/pacs/") for address in addresses)
        assert "http://127.0.0.1:8080/pacs/dicom-web" in (await client.get("/")).text
        assert (await client.get("/static/page.css")).status_code == 200


async def test_without_the_key_the_page_says_no_numbers(served: Served) -> None:
    async with served(key=True) as client:
        stranger = (await client.get("/")).text
        assert "<dd>" not in stranger
        assert "Shown to callers with a key" in stranger
        assert "Authorization: Bearer" in stranger
        assert "--data-dir" not in stranger
        holder = (await client.get("/", headers={"Authorization": f"Bearer {KEY}"})).text
        assert "<dt>studies</dt><dd>0</dd>" in holder


async def test_without_an_index_the_page_says_so(
    served: Served, postgres: EmbeddedPostgres
) -> None:
    async with served(url=postgres.url("no_such_database")) as client:
        answer = await client.get("/")
        assert answer.status_code == 200
        assert "The index does not answer" in answer.text


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (5_000_000_000_000, "5.0 TB"),
        (7_200_000_000_000_000_000, "7,200.0 PB"),
    ],
)
def test_sizes_are_for_people(number: int, shown: str) -> None:
    assert _size(number) == shown
