"""ETags, 304 and byte ranges of everything that is retrieved (RFC 9110 §13, §14)."""

import httpx
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from tests.dicomweb.test_wado_rs import ANY, DICOM, OCTETS, path_of, sample, store
from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import split_multipart

XML_PARTS = 'multipart/related; type="application/dicom+xml"'
RANGES = [
    ("bytes=0-9", 0, 10),
    ("bytes=100-", 100, None),
    ("bytes=-7", -7, None),
    ("bytes=-99999999", 0, None),
    ("Bytes = 3 - 3", 3, 4),
    ("bytes=5-99999999", 5, None),
]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("asked", "first", "last"), RANGES)
async def test_single_parts_come_in_ranges(
    client: httpx.AsyncClient, syntax: str, asked: str, first: int, last: int | None
) -> None:  # G-17, CLIENTS 2
    dataset = make_dataset(Rows=64, Columns=64)
    await store(client, make_part10(dataset, transfer_syntax=syntax))
    doors = [("/frames/1", OCTETS), ("/bulkdata/7FE00010", OCTETS)]
    doors += [("", DICOM)] if syntax == ExplicitVRLittleEndian else []
    for door, accept in doors:
        url, headers = path_of(dataset) + door, {"accept": accept}
        whole = await client.get(url, headers=headers)
        assert whole.status_code == 200
        part = await client.get(url, headers={**headers, "range": asked})
        assert part.status_code == 206
        assert whole.headers["accept-ranges"] == part.headers["accept-ranges"] == "bytes"
        assert part.content == whole.content[first:last]
        start = first % len(whole.content)
        end = start + len(part.content) - 1
        assert part.headers["content-range"] == f"bytes {start}-{end}/{len(whole.content)}"
        assert part.headers["content-length"] == str(len(part.content))


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=", "bytes=-", "bytes=9-5"])
async def test_what_is_no_single_range_means_all(client: httpx.AsyncClient, asked: str) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    headers = {"accept": DICOM, "range": asked}
    assert (await client.get(path_of(dataset), headers=headers)).status_code == 200


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416(client: httpx.AsyncClient, asked: str) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(path_of(dataset), headers={"accept": DICOM, "range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(make_part10(dataset))}"
    assert "in Range" in answer.json()["detail"]


async def test_a_range_of_another_version_means_all(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    headers = {"accept": DICOM, "range": "bytes=0-9"}
    etag = (await client.get(path_of(dataset), headers=headers)).headers["etag"]
    for tag, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200)):
        answer = await client.get(path_of(dataset), headers={**headers, "if-range": tag})
        assert answer.status_code == status


async def test_ranges_of_a_multipart_are_not_offered(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(path_of(dataset), headers={"accept": ANY, "range": "bytes=0-9"})
    assert answer.status_code == 200
    assert "accept-ranges" not in answer.headers


async def test_what_never_changes_is_sent_once(client: httpx.AsyncClient) -> None:  # G-16
    compressed = sample("MR_small_RLE.dcm")
    plain = make_dataset()
    await store(client, compressed[0], make_part10(plain))
    for dataset in (compressed[1], plain):
        instance = path_of(dataset)
        series = instance.rpartition("/instances")[0]
        seen = set()
        for url, accept in (
            (instance, DICOM),
            (instance, ANY),
            (series, ANY),
            (f"{instance}/frames/1", OCTETS),
            (f"{instance}/frames/1", f"{OCTETS}; transfer-syntax=*"),
            (f"{instance}/frames/1,1", f'multipart/related; type="{OCTETS}"'),
            (f"{instance}/bulkdata/7FE00010", OCTETS),
        ):
            first = await client.get(url, headers={"accept": accept})
            assert first.status_code == 200
            etag = first.headers["etag"]
            assert etag.startswith('W/"' if "multipart" in first.headers["content-type"] else '"')
            seen.add((url, etag))
            for given in (etag, "*", f'"x", {etag.removeprefix("W/")}'):
                again = await client.get(url, headers={"accept": accept, "if-none-match": given})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["etag"] == etag
            other = await client.get(url, headers={"accept": accept, "if-none-match": '"x"'})
            assert (other.status_code, other.headers["etag"]) == (200, etag)
        assert len(seen) >= 6


async def test_all_bulk_data_of_a_level_is_sent_once(client: httpx.AsyncClient) -> None:  # G-16
    one, other = make_series(2)
    await store(client, make_part10(one), make_part10(other))
    instance = path_of(one)
    tags = set()
    for level in (instance, instance.partition("/instances")[0], instance.partition("/series")[0]):
        for url in (f"{level}/bulkdata", f"{level}/pixeldata"):
            etag = (await client.get(url)).headers["etag"]
            assert etag.startswith('W/"')
            tags.add(etag)
            again = await client.get(url, headers={"if-none-match": etag})
            assert (again.status_code, again.headers["etag"], again.content) == (304, etag, b"")
            assert (await client.get(url, headers={"if-none-match": '"x"'})).status_code == 200
    assert len(tags) >= 4
    url = f"{instance.partition('/series')[0]}/bulkdata"
    etag = (await client.get(url)).headers["etag"]
    await store(client, make_part10(make_dataset(StudyInstanceUID=one.StudyInstanceUID)))
    assert (await client.get(url, headers={"if-none-match": etag})).status_code == 200


@pytest.mark.parametrize("accept", ["application/dicom+json", "application/dicom+xml", XML_PARTS])
async def test_each_content_coding_has_an_etag_of_its_own(
    client: httpx.AsyncClient, accept: str
) -> None:  # G-16, G-18
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url = f"{path_of(dataset)}/metadata"
    tags = {}
    for coding in ("gzip", "identity"):
        headers = {"accept": accept, "accept-encoding": coding}
        answer = await client.get(url, headers=headers)
        assert answer.headers.get("content-encoding", "identity") == coding
        assert "Accept-Encoding" in answer.headers["vary"]
        tags[coding] = answer.headers["etag"]
        assert tags[coding].startswith("W/") == ("multipart" in answer.headers["content-type"])
    assert tags["gzip"] == f'{tags["identity"][:-1]}-gzip"'
    for coding in ("gzip", "identity"):
        for known in tags.values():
            headers = {"accept": accept, "accept-encoding": coding, "if-none-match": known}
            again = await client.get(url, headers=headers)
            assert (again.status_code, again.headers["etag"]) == (304, known)


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=-5", "bytes=99999999-"])
async def test_a_range_means_nothing_to_head(client: httpx.AsyncClient, asked: str) -> None:  # G-17
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    for url, accept in (
        (path_of(dataset), DICOM),
        (f"{path_of(dataset)}/frames/1", OCTETS),
        (f"{path_of(dataset)}/bulkdata/7FE00010", OCTETS),
    ):
        whole = await client.get(url, headers={"accept": accept})
        for more in ({}, {"if-range": whole.headers["etag"]}):
            head = await client.head(url, headers={"accept": accept, "range": asked, **more})
            assert head.status_code == 200
            assert "content-range" not in head.headers
            assert head.headers["content-length"] == str(len(whole.content))


async def test_the_version_of_a_series_changes_with_it(client: httpx.AsyncClient) -> None:
    one, other = make_series(2)
    await store(client, make_part10(one))
    url = path_of(one).rpartition("/instances")[0]
    etag = (await client.get(url)).headers["etag"]
    await store(client, make_part10(other))
    answer = await client.get(url, headers={"if-none-match": etag})
    assert answer.status_code == 200
    assert len(split_multipart(answer)) == 2


DOORS = [
    ("", DICOM),
    ("", "application/zip"),
    ("/metadata", "application/dicom+json"),
    ("/frames/1", OCTETS),
    ("/bulkdata/7FE00010", OCTETS),
    ("/rendered", "image/png"),
]


@pytest.mark.parametrize(("door", "accept"), DOORS)
async def test_what_is_read_has_to_be_the_version_that_if_match_names(
    client: httpx.AsyncClient, door: str, accept: str
) -> None:  # G-16
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url, headers = path_of(dataset) + door, {"accept": accept}
    etag = (await client.get(url, headers=headers)).headers["etag"]
    assert not etag.startswith("W/")
    for tags, status in (
        (etag, 200),
        (f'"other", {etag}', 200),
        ("*", 200),
        ('"other"', 412),
        (f"W/{etag}", 412),
        ("", 412),
    ):
        answer = await client.get(url, headers={**headers, "if-match": tags})
        assert answer.status_code == status, tags
        if status == 412:
            assert "If-Match" in answer.json()["detail"]
    both = {**headers, "if-match": '"other"', "if-none-match": etag}
    assert (await client.get(url, headers=both)).status_code == 412
    both["if-match"] = etag
    assert (await client.get(url, headers=both)).status_code == 304
    twice = [*headers.items(), ("if-match", '"other"'), ("if-match", etag)]
    assert (await client.get(url, headers=twice)).status_code == 200


async def test_the_weak_tag_of_a_multipart_is_no_match(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    for door, type_ in (("", "application/dicom"), ("/frames/1", "application/octet-stream")):
        accept = f'multipart/related; type="{type_}"; transfer-syntax=*'
        found = await client.get(path_of(dataset) + door, headers={"accept": accept})
        etag = found.headers["etag"]
        assert etag.startswith("W/")
        for tags, status in ((etag, 412), (etag[2:], 412), ("*", 200)):
            asked = {"accept": accept, "if-match": tags}
            answer = await client.get(path_of(dataset) + door, headers=asked)
            assert answer.status_code == status, (door, tags)


async def test_what_has_no_date_of_change_ignores_the_one_that_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    asked = {"accept": DICOM, "if-unmodified-since": "Sat, 29 Oct 1994 19:43:31 GMT"}
    answer = await client.get(path_of(dataset), headers=asked)
    assert answer.status_code == 200
    assert "last-modified" not in answer.headers


async def test_what_is_not_there_is_404_whatever_the_condition(client: httpx.AsyncClient) -> None:
    for method in ("GET", "DELETE"):
        answer = await client.request(method, "/studies/1.2.3", headers={"if-match": '"other"'})
        assert answer.status_code == 404


async def test_the_tag_of_a_multipart_is_not_that_of_the_zip(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    etag = (await client.get(path_of(dataset), headers={"accept": DICOM})).headers["etag"]
    asked = {"accept": "application/zip", "if-none-match": etag}
    assert (await client.get(path_of(dataset), headers=asked)).status_code == 200
