"""Every sample taken out of the archive as metadata and Bulk Data, and stored again from that."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from app.dicom.limits import Limits
from app.dicom.xml_reader import read_xml
from tests.conformance.test_samples import KEPT, OCTETS, Stored
from tests.conformance.wire import parts_of
from tests.dicom.test_composed_instance import BROKEN, JP2_FILE, ODD, REFUSED
from tests.dicom.test_xml_model import without_controls
from tests.factories import new_uid
from tests.live_server import LiveServer
from tests.samples import sample_id

pytestmark = [pytest.mark.xdist_group("samples"), pytest.mark.slow]

JSON, XML = "application/dicom+json", "application/dicom+xml"
XML_PARTS = f'multipart/related; type="{XML}"'
ANY_FRAMES = 'multipart/related; type="*/*"; transfer-syntax=*'
PIXELS = "7FE00010"
URI = re.compile('(?<="BulkDataURI":")[^"]+')
Part = tuple[dict[str, str], bytes]


@pytest.fixture(scope="module")
def stored(live_server: LiveServer) -> Iterator[Stored]:
    """All samples, stored one request each."""
    with httpx.Client(base_url=live_server.url, timeout=120) as client:
        yield Stored(client)


def _bulk_data(stored: Stored, path: Path, uris: list[str]) -> Iterator[Part]:
    """Yield what the metadata refers to, compressed frames as they are stored."""
    dataset = stored.dataset(path)
    syntax = dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)
    for uri in uris:
        located = {"Content-Location": uri}
        if uri.endswith(f"/bulkdata/{PIXELS}") and syntax.is_encapsulated:
            numbers = ",".join(map(str, range(1, int(dataset.get("NumberOfFrames") or 1) + 1)))
            frames = stored.get(f"{stored.uids(path).path}/frames/{numbers}", ANY_FRAMES)
            for headers, content in parts_of(frames):
                yield {**located, "Content-Type": headers["Content-Type"]}, content
        else:
            yield {**located, "Content-Type": "application/octet-stream"}, stored.only_part(uri)


def _store(client: httpx.Client, kind: str, parts: list[Part]) -> httpx.Response:
    boundary = "a-boundary-that-no-sample-has"
    body = b""
    for headers, content in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{boundary}\r\n{lines}\r\n".encode() + content + b"\r\n"
    return client.post(
        "/dicom-web/studies",
        content=body + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}'},
    )


def _comparable(document: Any, instance: str) -> Any:
    """Return metadata without what is another instance's, and without the VR of Pixel Data."""
    text = re.sub(
        URI,
        lambda uri: uri[0].partition("/bulkdata/")[2],
        json.dumps(document, separators=(",", ":")),
    )
    found = json.loads(text.replace(instance, "-"))
    if PIXELS in found:  # native ones deeper than 8 bits are OW, encapsulated ones OB
        found[PIXELS]["vr"] = "-"
    return without_controls(found)


@pytest.mark.parametrize("kind", [JSON, XML])
@pytest.mark.parametrize(
    "path", [path for path in KEPT if path.name not in {BROKEN, *ODD, *REFUSED}], ids=sample_id
)
def test_a_sample_stored_again_from_its_parts_is_the_same(  # S-17, X-01, X-09, I-02, I-11
    stored: Stored, path: Path, kind: str
) -> None:
    uids, instance = stored.uids(path), new_uid()
    answer = stored.get(f"{uids.path}/metadata", JSON if kind == JSON else XML_PARTS)
    content = answer.content if kind == JSON else parts_of(answer)[0][1]
    first = answer.json()[0] if kind == JSON else read_xml(content, Limits())
    uris = [*dict.fromkeys(URI.findall(json.dumps(first, separators=(",", ":"))))]
    # references to the instance itself stay, so only what names it is changed
    element = b'"00080018":{"vr":"UI","Value":["%b"]}'
    if kind == XML:
        element = b'keyword="SOPInstanceUID"><Value number="1">%b<'
    old = element % uids.instance.encode()
    assert content.count(old) == 1
    metadata = content.replace(old, element % instance.encode())
    parts = [({"Content-Type": kind}, metadata), *_bulk_data(stored, path, uris)]
    answer = _store(stored.client, kind, parts)
    assert answer.status_code == 200, answer.text
    again = f"/studies/{uids.study}/series/{uids.series}/instances/{instance}"
    (second,) = stored.get(f"{again}/metadata", JSON).json()
    assert _comparable(second, instance) == _comparable(first, uids.instance)
    if path.name != JP2_FILE:
        _assert_same_frames(stored, uids.path, again)


def _assert_same_frames(stored: Stored, first: str, second: str) -> None:
    urls = [f"/dicom-web{path}/frames/1" for path in (first, second)]
    for accept in (ANY_FRAMES, OCTETS):
        one, two = (stored.client.get(url, headers={"Accept": accept}) for url in urls)
        assert one.status_code == two.status_code
        if one.status_code == 200:
            assert [body for _, body in parts_of(one)] == [body for _, body in parts_of(two)]
