"""General HTTP (PS3.18 §8.1–8.6, CONFORMANCE group G), over real connections."""

import gzip
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from pydicom import Dataset

from tests.conformance.wire import (
    JSON,
    OCTET_PARTS,
    body_of,
    get,
    get_json,
    path_of,
    series_path,
    store,
    study_path,
)
from tests.factories import make_dataset, make_part10, new_uid
from tests.live_server import LiveServer

OVERLAY = bytes(range(256)) * 64


@pytest.fixture
def stored(http: httpx.Client) -> Dataset:
    """A stored Instance with an overlay of 16 KiB."""
    dataset = make_dataset(PatientID=new_uid()[-16:])
    dataset.add_new(0x60003000, "OW", OVERLAY)
    assert store(http, make_part10(dataset)).status_code == 200
    return dataset


def _everything(stored: Dataset) -> list[str]:
    return [
        "/dicom-web/studies",
        f"{study_path(stored)}/series",
        f"{series_path(stored)}/instances",
        f"{path_of(stored)}/metadata",
        f"{series_path(stored)}/metadata",
        path_of(stored),
        f"{path_of(stored)}/frames/1",
    ]


def test_every_payload_has_a_type_and_a_length_that_is_true(
    http: httpx.Client, stored: Dataset
) -> None:
    for url in _everything(stored):
        answer = get(http, url)
        assert answer.status_code == 200, url
        assert answer.headers["Content-Type"]  # G-01
        delimited = {"content-length", "transfer-encoding"} & set(answer.headers)
        assert len(delimited) == 1, url  # G-02; httpx checks that the length is true


def test_head_answers_like_get_without_a_body(http: httpx.Client, stored: Dataset) -> None:
    for url in _everything(stored):
        head = http.head(url, headers={"Accept": "*/*"})  # G-15
        assert head.status_code == 200, url
        assert head.content == b""
        assert (
            head.headers["Content-Type"].split(";")[0]
            == (get(http, url).headers["Content-Type"].split(";")[0])
        )


def test_without_accept_the_default_form_comes(http: httpx.Client, stored: Dataset) -> None:
    del http.headers["Accept"]  # G-04
    assert http.get(f"{path_of(stored)}/metadata").headers["Content-Type"] == JSON
    assert http.get(path_of(stored)).headers["Content-Type"].startswith("multipart/related")


@pytest.mark.parametrize("accept", ["text/csv", "image/png;q=0.5, text/html", "application/x-tar"])
def test_a_form_that_is_not_offered_is_406_for_search_and_retrieve(
    http: httpx.Client, stored: Dataset, accept: str
) -> None:
    for url in _everything(stored):  # G-03
        assert get(http, url, accept).status_code == 406, url


def test_quality_orders_the_forms(http: httpx.Client, stored: Dataset) -> None:
    accept = "application/octet-stream;q=0.2, " + OCTET_PARTS + ";q=0.9"
    answer = get(http, f"{path_of(stored)}/frames/1", accept)  # G-05
    assert answer.headers["Content-Type"].startswith("multipart/related")


def test_charsets_do_not_break_an_answer(http: httpx.Client, stored: Dataset) -> None:
    url = f"{path_of(stored)}/metadata"
    for headers in ({"Accept-Charset": "iso-8859-1"}, {"Accept-Charset": "klingon"}):  # G-08
        assert http.get(url, headers={"Accept": JSON, **headers}).status_code in {200, 406}
    answer = get(http, url, "application/dicom+json; charset=utf-8")  # M-22
    assert answer.status_code == 200
    assert "Müller" in answer.content.decode()


def test_unknown_parameters_are_ignored(http: httpx.Client, stored: Dataset) -> None:
    found = get_json(http, f"/dicom-web/studies?PatientID={stored.PatientID}&_=17&nocache=x")
    assert len(found) == 1  # G-09
    assert get(http, f"{path_of(stored)}/frames/1?_=17").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_a_wrong_method_changes_nothing(http: httpx.Client, stored: Dataset, method: str) -> None:
    for url in (path_of(stored), f"{path_of(stored)}/metadata", f"{path_of(stored)}/frames/1"):
        answer = http.request(method, url)  # G-10 S-34
        assert answer.status_code in {404, 405, 501}
        assert answer.status_code != 405 or "GET" in answer.headers["Allow"]
    assert get(http, path_of(stored)).status_code == 200


def test_what_is_not_there_is_404_on_every_level(http: httpx.Client, stored: Dataset) -> None:
    other = make_dataset()
    mixed = make_dataset(StudyInstanceUID=stored.StudyInstanceUID)
    for dataset in (other, mixed):  # G-11
        for url in (path_of(dataset), series_path(dataset)):
            assert get(http, url).status_code == 404
            assert get(http, f"{url}/metadata", JSON).status_code == 404
        assert get(http, f"{path_of(dataset)}/frames/1").status_code == 404
    assert get(http, study_path(other)).status_code == 404


@pytest.mark.parametrize("uid", ["1..2/../x", "abc", "1.2.3'--", "1" * 65, "%00", "..%2f..%2fetc"])
def test_what_is_no_uid_is_refused_and_leaks_nothing(http: httpx.Client, uid: str) -> None:
    for tail in ("", "/metadata", "/series"):  # G-12 Z-01
        answer = get(http, f"/dicom-web/studies/{uid}{tail}")
        assert answer.status_code in {204, 400, 404}
        assert "/" not in answer.text.replace("application/", "").replace("://", "")


def test_a_body_of_another_type_is_415(http: httpx.Client) -> None:
    for kind in (
        "text/plain",
        "application/pdf",
        'multipart/related; type="text/html"; boundary=b',
    ):
        answer = http.post("/dicom-web/studies", content=b"x", headers={"Content-Type": kind})
        assert answer.status_code == 415  # G-13 S-07
        assert answer.headers["Content-Type"] == "application/problem+json"  # G-24


def test_what_was_seen_before_is_not_sent_again(http: httpx.Client, stored: Dataset) -> None:
    for url in (f"{series_path(stored)}/metadata", f"{path_of(stored)}/metadata"):
        first = get(http, url, JSON)
        again = get(http, url, JSON, **{"If-None-Match": first.headers["ETag"]})  # G-16
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["ETag"] == first.headers["ETag"]
        other = get(http, url, JSON, **{"If-None-Match": '"something else"'})
        assert other.status_code == 200


def test_bulk_data_comes_in_ranges_to_who_asks(http: httpx.Client, stored: Dataset) -> None:
    (document,) = get_json(http, f"{path_of(stored)}/metadata")
    uri = document["60003000"]["BulkDataURI"]
    one = "application/octet-stream"
    part = get(http, uri, one, Range="bytes=100-199")
    assert part.status_code == 206  # G-17
    assert part.content == OVERLAY[100:200]
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(OVERLAY)}"
    beyond = get(http, uri, one, Range="bytes=99999999-")
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(OVERLAY)}"


def test_json_is_zipped_for_who_takes_it_and_pixels_never(
    http: httpx.Client, stored: Dataset
) -> None:
    with http.stream(
        "GET",
        f"{path_of(stored)}/metadata",
        headers={"Accept": JSON, "Accept-Encoding": "gzip"},
    ) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["Content-Encoding"] == "gzip"  # G-18
        assert "Accept-Encoding" in answer.headers["Vary"]
    plain = get(http, f"{path_of(stored)}/metadata", JSON, **{"Accept-Encoding": "identity"})
    assert gzip.decompress(raw) == plain.content
    frame = get(http, f"{path_of(stored)}/frames/1", None, **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in frame.headers


def test_a_zipped_upload_is_never_stored_as_garbage(http: httpx.Client) -> None:
    dataset = make_dataset()
    answer = http.post(
        "/dicom-web/studies",
        content=gzip.compress(body_of([make_part10(dataset)])),
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=b',
            "Content-Encoding": "gzip",
        },
    )
    assert answer.status_code == 200  # G-19
    stored = get(http, path_of(dataset)).status_code
    assert stored == 200


def test_what_is_not_heeded_travels_in_a_warning(http: httpx.Client, stored: Dataset) -> None:
    url = f"/dicom-web/studies?PatientID={stored.PatientID}&colour=blue"
    answer = get(http, url, JSON)
    assert answer.status_code == 200
    assert answer.headers["Warning"].startswith("299 ")  # G-23


def test_percent_encoding_is_decoded_once(http: httpx.Client) -> None:
    for patient, query in (
        ("A+B 100%", "A%2BB%20100%25"),
        ("A%20B", "A%2520B"),
        ("Ä,ö", "%C3%84%2C%C3%B6"),
    ):
        dataset = make_dataset(PatientID=f"{patient}{new_uid()[-9:]}")
        store(http, make_part10(dataset))
        found = get_json(http, f"/dicom-web/studies?PatientID={query}{dataset.PatientID[-9:]}")
        assert [study["0020000D"]["Value"] for study in found] == [[dataset.StudyInstanceUID]]
    # a plus is a blank in a query # G-26
    dataset = make_dataset(PatientName="Plus Sign^One")
    store(http, make_part10(dataset))
    assert get_json(http, "/dicom-web/studies?PatientName=Plus+Sign*")


@pytest.mark.parametrize("path", ["/dicom-web/studies/", "/dicom-web//studies", "//", "/docs/"])
def test_odd_slashes_are_no_fault_of_ours(http: httpx.Client, path: str) -> None:
    answer = http.request("GET", httpx.URL(str(http.base_url)).copy_with(raw_path=path.encode()))
    assert answer.status_code < 500  # G-27


def test_readers_and_writers_do_not_disturb_each_other(
    http: httpx.Client, live_server: LiveServer
) -> None:
    datasets = [make_dataset(PatientID=f"P{number}") for number in range(24)]

    def through(dataset: Dataset) -> bool:
        with httpx.Client(base_url=live_server.url, timeout=60) as client:
            stored = store(client, make_part10(dataset)).status_code == 200  # G-29 S-25
            (document,) = get_json(client, f"{path_of(dataset)}/metadata")
            frame = get(client, f"{path_of(dataset)}/frames/1", "application/octet-stream")
            return (
                stored
                and document["00100020"]["Value"] == [dataset.PatientID]
                and frame.content == bytes(dataset.PixelData)
            )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(through, datasets))


def test_a_connection_stays_in_step_after_an_early_refusal(live_server: LiveServer) -> None:
    address = urlsplit(live_server.url)
    host = f"Host: {address.netloc}\r\n".encode()
    body = b"x" * 300_000
    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as peer:
        peer.sendall(
            b"POST /dicom-web/studies HTTP/1.1\r\n" + host + b"Content-Type: text/plain\r\n"
            b"Content-Length: 300000\r\n\r\n" + body
        )
        peer.sendall(b"GET /health/live HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")
        received = b""
        while chunk := _received(peer):
            received += chunk
    statuses = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses[0].startswith(b"HTTP/1.1 415")  # G-30
    # Either the connection was closed with the refusal, or the next answer is the right one.
    assert len(statuses) == 1 or statuses[1].startswith(b"HTTP/1.1 200")


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except ConnectionResetError:
        return b""


def test_who_waits_for_100_continue_gets_it(live_server: LiveServer) -> None:
    address = urlsplit(live_server.url)
    body = body_of([make_part10()])
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: {address.netloc}\r\n"
        'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\n'
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as peer:
        peer.sendall(head.encode())
        assert peer.recv(65536).startswith(b"HTTP/1.1 100")  # S-32
        peer.sendall(body)
        assert peer.recv(65536).startswith(b"HTTP/1.1 200")


def test_reading_has_no_side_effects(http: httpx.Client, stored: Dataset) -> None:
    url = f"/dicom-web/studies?PatientID={stored.PatientID}&includefield=all"
    before = get_json(http, url)
    for other in _everything(stored):  # G-25
        get(http, other)
    assert get_json(http, url) == before


def test_a_script_may_read_the_headers_that_viewers_need(
    http: httpx.Client, stored: Dataset
) -> None:
    answer = get(http, f"{path_of(stored)}/metadata", JSON, Origin="http://localhost:3000")
    assert answer.headers["Access-Control-Allow-Origin"] in {"*", "http://localhost:3000"}
    exposed = answer.headers["Access-Control-Expose-Headers"].lower()  # G-22
    for name in ("warning", "etag", "content-location", "location", "content-range"):
        assert name in exposed
