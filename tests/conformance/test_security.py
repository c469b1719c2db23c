"""Security and robustness (CONFORMANCE group Z), over real connections, as a stranger would try it.

Each number has its test here, and closer ones where the code is. The server of the session takes
all of it, and answers the others' tests afterwards.
"""

import http.client
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import quote, urlsplit

import httpx
import pytest
from pydicom import Dataset

from tests.conformance.wire import JSON, get, path_of, store, study_path
from tests.factories import make_dataset, make_part10, new_uid
from tests.live_server import LiveServer
from tests.raw_elements import DEFLATED, SEQUENCE_END, UNDEFINED, explicit, open_item, part10

STUDIES = "/dicom-web/studies"
LEVELS = ("studies", "series", "instances")
REFUSED = {400, 404, 409, 413, 414, 415, 431}
SCRIPT = "<script>alert(1)</script>"
PATIENCE = 120
"""Seconds in which even a slow machine answers; what explodes takes for ever."""
_FIVE = "".join(f'<!ENTITY {b} "{f"&{a};" * 5}">' for a, b in pairwise("abcdefgh"))
ENTITIES = f'<!DOCTYPE x [<!ENTITY a "aaaaaaaa">{_FIVE}]><NativeDicomModel>&h;</NativeDicomModel>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><NativeDicomModel/>'
AWAY = (
    "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "~root",
    "..%5c..%5cetc%5cpasswd", "....//....//etc/passwd", "%252e%252e%252fetc%252fpasswd", "-1.2",
    "1.2.3%00.dcm", "/etc/passwd", "1.2..%2f3", "1.2.3%2f..%2f..",
)  # fmt: skip
MAGIC = (b"MZ\x90\0", b"\x7fELF", b"II*\0", b"%PDF-1.7", b"<html>", b"PK\3\4")
NUMBERS = (
    "9223372036854775808", "1" + "0" * 30, "-1", "1000000000", "0x10", "1e400", "NaN", "٣", "",
)  # fmt: skip
UIDS = ("00080018", "0020000D", "0020000E")
Answered = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture
def stored(http: httpx.Client) -> Dataset:
    """A stored Instance whose texts are hostile to pages."""
    dataset = make_dataset(
        PatientID=new_uid()[-16:],
        PatientName=f"{SCRIPT}^A",
        StudyDescription="aaaaaaaaaaaaaaaaaaaa",
    )
    assert store(http, make_part10(dataset)).status_code == 200
    return dataset


def raw(server: LiveServer, target: str, **headers: str) -> Answered:
    """Send GET for a target as it stands; clients tidy it up otherwise."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def traversals() -> Iterator[str]:
    for away in AWAY:
        yield f"{STUDIES}/{away}/metadata"
        yield f"{STUDIES}/1.2/series/{away}/instances/1.2/frames/1"
        yield f"{STUDIES}/1.2/series/1.2/instances/{away}"
        yield f"{STUDIES}/1.2/series/1.2/instances/1.2/bulkdata/{away}"
        yield f"/static/{away}"
        yield f"/wado?requestType=WADO&studyUID={away}&seriesUID=1.2&objectUID=1.2"


def test_no_path_leads_out_of_the_archive(live_server: LiveServer) -> None:  # Z-01
    for target in traversals():
        status, _, body = raw(live_server, target)
        assert status in {400, 404}, target
        assert b"root:" not in body
        assert str(live_server.data_dir).encode() not in body


@pytest.mark.parametrize(
    "value",
    ["' OR '1'='1", '" OR ""="', "'; DROP TABLE study; --", "%", "_%", "\\", "\\'", "$1", "{}",
     "1) OR (1=1", "E'\\x41'", "/**/", "::text", "%s", "'||'"],
)  # fmt: skip
def test_what_means_something_in_sql_means_nothing_here(
    http: httpx.Client, stored: Dataset, value: str
) -> None:  # Z-02
    for level in LEVELS:
        for key in ("PatientID", "StudyDescription", "PatientName", "00204000"):
            study = {"StudyInstanceUID": stored.StudyInstanceUID}
            answer = http.get(f"/dicom-web/{level}", params={key: value, **study})
            assert (answer.status_code, answer.content) == (204, b""), (level, key)
    for name in (value, f"0010{value}", f"includefield={value}"):
        answer = http.get(f"{STUDIES}?{quote(name)}=1&PatientID={stored.PatientID}")
        assert answer.status_code in {200, 400}
    assert get(http, study_path(stored) + "/metadata").status_code == 200


@pytest.mark.parametrize("end", ["%0d%0a", "%0a", "%0d", "%e5%98%8a%e5%98%8d"])
def test_no_value_begins_a_header(live_server: LiveServer, stored: Dataset, end: str) -> None:
    injected = f"x{end}X-Injected:%20yes{end}{end}body"  # Z-03
    targets = [
        f"{STUDIES}?PatientID={injected}",
        f"{STUDIES}?{injected}=1",
        f"{STUDIES}?includefield={injected}",
        f"{STUDIES}/{injected}",
        f"{path_of(stored)}/rendered?accept={injected}",
        f"{path_of(stored)}/rendered?window={injected}",
        f"/wado?requestType=WADO&contentType={injected}",
        f"/login?next={injected}",
        f"/{injected}",
    ]
    for target in targets:
        status, headers, _ = raw(live_server, target)
        assert status < 500, target
        assert "x-injected" not in {name.lower() for name, _ in headers}, target
        assert all("\r" not in value and "\n" not in value for _, value in headers)


@pytest.mark.parametrize("number", NUMBERS)
def test_absurd_numbers_are_refused_or_find_nothing(
    http: httpx.Client, stored: Dataset, number: str
) -> None:  # Z-04
    there = path_of(stored)
    for path, params in (
        (STUDIES, {"limit": number}),
        (STUDIES, {"offset": number}),
        (f"{there}/rendered", {"viewport": f"{number},{number}"}),
        (f"{there}/rendered", {"quality": number}),
        (f"{there}/rendered", {"window": f"{number},{number},linear"}),
        (f"{there}/frames/{quote(number) or '0'}", {}),
        (f"{there}/thumbnail", {"viewport": f"1,{number}"}),
        ("/api/v1/changes", {"limit": number}),
    ):
        answer = get(http, str(httpx.URL(path, params=params)))
        assert answer.status_code in {200, 204, *REFUSED}, (path, params)
        assert answer.status_code != 200 or path in {STUDIES} or len(answer.content) < 10**6


@pytest.mark.parametrize("size", [8_000, 16_000, 64_000])
def test_very_long_urls_and_values_are_answered(live_server: LiveServer, size: int) -> None:
    for target in (
        f"{STUDIES}?PatientName={'a' * size}",
        f"{STUDIES}?{'a' * size}=1",
        f"{STUDIES}/{'1.' * (size // 2)}1",
        f"{STUDIES}?StudyInstanceUID={','.join(['1.2'] * (size // 4))}",
    ):  # Z-05
        status, _, _ = raw(live_server, target)
        assert status in {200, 204, *REFUSED}, target[:60]
    status, _, _ = raw(live_server, STUDIES, Accept="a/b," * (size // 4))
    assert status in {200, 204, 406, *REFUSED}


def test_depth_and_inflation_are_bounded(http: httpx.Client) -> None:  # Z-06
    nested = explicit(0x00100020, "LO", b"X1")
    for _ in range(3000):
        nested = explicit(0x00081140, "SQ", open_item(nested) + SEQUENCE_END, UNDEFINED)
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    pixels = explicit(0x7FE00010, "OW", b"", 96 * 2**20)
    bomb = b"".join(engine.compress(piece) for piece in (pixels, *[bytes(2**20)] * 96))
    for data in (part10(nested), part10(bomb + engine.flush(), uid=DEFLATED)):
        answer = store(http, data)
        assert answer.status_code == 409
        assert answer.json()["0008119A"]["Value"][0]["00081197"]["Value"][0] >= 0xA000


@pytest.mark.parametrize("value", ["a%00b", "%ff%fe", "%c3%28", "%ed%a0%80", "%00", "%", "%zz"])
def test_what_is_no_text_is_refused_or_finds_nothing(
    live_server: LiveServer, value: str
) -> None:  # Z-07
    for target in (
        f"{STUDIES}?PatientID={value}",
        f"{STUDIES}?PatientName=*{value}*",
        f"{STUDIES}?{value}=1&PatientID=none",
        f"{STUDIES}/{value}/series",
    ):
        status, _, body = raw(live_server, target)
        assert status in {204, *REFUSED}, target
        assert status == 204 or json.loads(body)["status"] == status


@pytest.mark.parametrize("pattern", ["*a" * 60 + "*b", "?" * 64, "*?" * 50 + "b", "*" * 3000])
def test_wildcards_that_try_everything_are_answered(
    http: httpx.Client, stored: Dataset, pattern: str
) -> None:  # Z-08
    for key in ("StudyDescription", "PatientName", "00204000"):
        params = {key: pattern, "StudyInstanceUID": stored.StudyInstanceUID}
        answer = http.get("/dicom-web/instances", params=params, timeout=PATIENCE)
        assert answer.status_code in {200, 204, 400}, key


def test_multipart_bombs_are_refused(http: httpx.Client) -> None:  # Z-09
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    giant = b"--b\r\nX: " + b"x" * 2**20 + b"\r\n\r\n\r\n--b--\r\n"
    many = b"--b\r\n" + b"X: y\r\n" * 20_000 + b"\r\n\r\n--b--\r\n"
    for body in (b"--b\r\n\r\n\r\n" * 5000 + b"--b--\r\n", giant, many, b"-" * 2**20, b""):
        answer = http.post(STUDIES, content=body, headers=headers)
        assert answer.status_code in REFUSED, body[:30]


@pytest.mark.parametrize("document", [ENTITIES, EXTERNAL, "<!DOCTYPE x><NativeDicomModel/>"])
def test_xml_with_a_document_type_is_refused(http: httpx.Client, document: str) -> None:  # Z-10
    headers = {"Content-Type": "application/dicom+xml"}
    answer = http.post(STUDIES, content=document.encode(), headers=headers)
    assert answer.status_code == 400
    assert "without a document type" in answer.json()["detail"]


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b'{"00081140":{"vr":"SQ","Value":[' * 5000,
        b'[{"00280010":{"vr":"US","Value":[' + b"9" * 10_000 + b"]}}]",
        b'[{"00280010":{"vr":"US","Value":[1e999]}}]',
        b'[{"00280010":{"vr":"US","Value":[NaN]}}]',
    ],
)
def test_json_that_is_too_deep_or_large_is_refused(
    http: httpx.Client, document: bytes
) -> None:  # Z-11
    answer = http.post(STUDIES, content=document, headers={"Content-Type": JSON})
    assert answer.status_code in REFUSED
    for path in ("/api/v1/tickets", "/api/v1/keys", "/api/v1/retention-rules"):
        headers = {"Content-Type": "application/json"}
        assert http.post(path, content=document, headers=headers).status_code in REFUSED


@pytest.mark.parametrize("scheme", ["http", "file", "ftp"])
def test_nothing_is_fetched_that_an_upload_names(http: httpx.Client, scheme: str) -> None:  # Z-12
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(1)
        there = f"127.0.0.1:{listening.getsockname()[1]}" if scheme != "file" else ""
        metadata = {
            "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
            **{tag: {"vr": "UI", "Value": [new_uid()]} for tag in UIDS},
            "00420011": {"vr": "OB", "BulkDataURI": f"{scheme}://{there}/etc/hostname"},
        }  # fmt: skip
        answer = http.post(STUDIES, json=[metadata], headers={"Content-Type": JSON, "Accept": JSON})
        assert answer.status_code == 409
        with pytest.raises(TimeoutError):
            listening.accept()


def test_no_answer_makes_a_page_of_what_was_stored_or_sent(
    live_server: LiveServer, http: httpx.Client, stored: Dataset
) -> None:  # Z-13
    script = quote(SCRIPT)
    for target in (
        f"{STUDIES}/{script}",
        f"{STUDIES}?PatientName={script}",
        f"{STUDIES}?{script}=1",
        f"{STUDIES}?limit={script}",
        f"{path_of(stored)}/rendered?viewport={script}",
        f"{path_of(stored)}/metadata",
        f"{path_of(stored)}/rendered?accept=text/html",
        f"{STUDIES}?StudyInstanceUID={stored.StudyInstanceUID}",
        f"/login?next={script}",
        f"/{script}",
    ):
        _, fields, body = raw(live_server, target, Accept="text/html, */*;q=0.5")
        headers = {name.lower(): value for name, value in fields}
        assert headers["x-content-type-options"] == "nosniff", target
        assert "default-src 'none'" in headers["content-security-policy"], target
        if headers.get("content-type", "").startswith(("text/html", "image/svg")):
            assert b"<script>alert" not in body, target


@pytest.mark.parametrize("magic", MAGIC)
def test_a_preamble_that_is_something_else_is_kept_and_stays_inert(
    http: httpx.Client, magic: bytes
) -> None:  # Z-14
    dataset = make_dataset()
    data = magic.ljust(128, b"\0") + make_part10(dataset)[128:]
    assert store(http, data).status_code == 200
    answer = get(http, path_of(dataset), "application/dicom")
    assert answer.headers["content-type"].startswith("application/dicom")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content in {data, bytes(128) + data[128:]}


def test_a_socket_that_speaks_something_else_is_let_go(live_server: LiveServer) -> None:
    address = urlsplit(live_server.url)
    associate = struct.pack(">BxL", 1, 9)  # of DIMSE
    for said in (b"\x16\x03\x01\0\xa5\1\0\0\xa1", b"GET\r\n\r\n", b"\0" * 5000, associate):
        with socket.create_connection((str(address.hostname), address.port), PATIENCE) as sent:
            sent.sendall(said + b"\r\n\r\n")
            answer = sent.recv(64)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), said


def test_and_after_all_that_it_answers(live_server: LiveServer, http: httpx.Client) -> None:
    assert get(http, "/health/ready").json()["status"] == "ready"  # Z-15
    dataset = make_dataset()
    assert store(http, make_part10(dataset)).status_code == 200
    assert get(http, f"{path_of(dataset)}/frames/1").status_code == 200
    assert live_server.process.poll() is None
    assert '"request failed"' not in live_server.log.read_text()
