"""Every sample file goes in by C-STORE and comes out by C-GET, C-MOVE and WADO-RS, equal."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
)

from app.dicom.file_meta import add_file_meta, read_file_meta
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.uids import check_uid
from app.dimse.peers import Peer
from app.errors import InvalidDataset, InvalidUID
from benchmarks.server import free_port
from tests.bridges import (
    DCMTK,
    RunningBridge,
    associated,
    bridge_to,
    called,
    data_set_of,
    dcmtk,
    send_bytes,
)
from tests.dataset_comparison import differences
from tests.factories import new_uid
from tests.live_server import LiveServer
from tests.pydicom_oracle import quiet
from tests.samples import SAMPLES

pytestmark = pytest.mark.slow

GET = str(StudyRootQueryRetrieveInformationModelGet)


@dataclass(frozen=True)
class Sample:
    """A sample, its UIDs, and the data set that goes over the wire."""

    name: str
    sop_class: str
    study: str
    series: str
    instance: str
    syntax: str
    data_set: bytes

    @property
    def context(self) -> tuple[str, str]:
        """What is negotiated for it."""
        return self.sop_class, self.syntax


def _sample(name: str, data: bytes) -> Sample | None:
    try:
        scanned = scan(BytesSource(data))
    except InvalidDataset:
        return None
    metadata = orjson.loads(scanned.metadata)
    uids = [
        str((metadata.get(key, {}).get("Value") or [""])[0])
        for key in ("00080016", "0020000D", "0020000E", "00080018")
    ]
    try:
        for uid in uids:
            check_uid(uid)
    except InvalidUID:  # the archive keeps none of these
        return None
    sop_class, study, series, instance = uids
    syntax = read_file_meta(data[: 2**16]).transfer_syntax_uid
    return Sample(name, sop_class, study, series, instance, syntax, data_set_of(data))


@quiet
def _with_new_uid(path: Path) -> bytes:
    dataset = dcmread(path, force=True)
    dataset.SOPInstanceUID = new_uid()
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def _samples() -> Iterator[Sample]:
    seen: set[str] = set()
    for path in SAMPLES:
        sample = _sample(path.name, path.read_bytes())
        if sample is not None and sample.instance in seen:
            sample = _sample(path.name, _with_new_uid(path))
        if sample is not None:
            seen.add(sample.instance)
            yield sample


def _batches(samples: list[Sample], most: int) -> Iterator[list[Sample]]:
    """Yield samples in groups that have no more than so many Presentation Contexts."""
    contexts = list(dict.fromkeys(sample.context for sample in samples))
    for start in range(0, len(contexts), most):
        some = set(contexts[start : start + most])
        yield [sample for sample in samples if sample.context in some]


@pytest.fixture(scope="module")
def stored(bridge: RunningBridge) -> list[Sample]:
    """All samples that have UIDs, stored by C-STORE."""
    samples = list(_samples())
    assert len(samples) > 180
    refused: dict[str, tuple[int, str]] = {}
    for batch in _batches(samples, 60):
        for context in dict.fromkeys(sample.context for sample in batch):
            with associated(bridge, context) as association:
                for sample in (one for one in batch if one.context == context):
                    uids = sample.sop_class, sample.instance
                    code, comment = send_bytes(association, sample.data_set, *uids)
                    if code:
                        refused[sample.name] = (code, comment)
    assert refused == {}
    return samples


def test_what_is_stored_is_what_was_sent(archive: LiveServer, stored: list[Sample]) -> None:
    for sample in stored:
        assert data_set_of(archive.stored_object(sample.instance)) == sample.data_set, sample.name


def test_http_gives_them_out_as_they_are(archive: LiveServer, stored: list[Sample]) -> None:
    """As originals, and by WADO-RS, which writes two Transfer Syntaxes anew (PS3.18 §8.7.3)."""
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    rewritten = {ImplicitVRLittleEndian, ExplicitVRBigEndian}
    with httpx.Client() as client:
        for sample in stored:
            path = f"{sample.study}/series/{sample.series}/instances/{sample.instance}"
            answer = client.get(f"{archive.url}/api/v1/studies/{path}/original")
            assert data_set_of(answer.content) == sample.data_set, sample.name
            answer = client.get(f"{archive.dicomweb}/studies/{path}", headers=accept)
            if sample.syntax in rewritten:
                assert _differences(sample, answer.content) == [], sample.name
            else:
                assert data_set_of(answer.content) == sample.data_set, sample.name


@quiet
def _differences(sample: Sample, rewritten: bytes) -> list[str]:
    meta = add_file_meta(sample.sop_class, sample.instance, sample.syntax)
    return differences(
        dcmread(BytesIO(meta + sample.data_set)), dcmread(BytesIO(rewritten), force=True)
    )


def test_c_get_gives_them_out_as_they_are(bridge: RunningBridge, stored: list[Sample]) -> None:
    came: dict[str, bytes] = {}

    def keep(event: Any) -> int:
        came[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0

    for batch in _batches(stored, 100):
        level = Dataset()
        level.QueryRetrieveLevel = "IMAGE"
        level.SOPInstanceUID = [sample.instance for sample in batch]
        contexts = dict.fromkeys(sample.context for sample in batch)
        classes = dict.fromkeys(sop_class for sop_class, _ in contexts)
        with associated(
            bridge,
            (GET, ExplicitVRLittleEndian),
            *contexts,
            ext_neg=[build_role(one, scp_role=True) for one in classes],
            evt_handlers=[(evt.EVT_C_STORE, keep)],
        ) as association:
            *_, (last, _) = association.send_c_get(level, GET)
        assert last.Status == 0, last
    for sample in stored:
        assert came[sample.instance] == sample.data_set, sample.name


def test_c_move_sends_them_as_they_are(
    archive: LiveServer, stored: list[Sample], tmp_path: Path
) -> None:
    """All that DCMTK's storescp takes; it knows no private SOP Classes."""
    port = free_port()
    arguments = ["-q", "+B", "+xa", "-pm", "-od", str(tmp_path), str(port)]
    with subprocess.Popen([str(DCMTK / "storescp"), *arguments]) as process:
        try:
            peer = Peer("STORE", "127.0.0.1", port)
            with bridge_to(archive, peers=(peer,)) as bridge:
                for study in dict.fromkeys(sample.study for sample in stored):
                    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
                    dcmtk("movescu", "-S", "-aem", "STORE", *called(bridge), *keys, good=False)
        finally:
            process.terminate()
    came = {}
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        sample = _sample(path.name, data)
        assert sample is not None
        came[sample.instance] = sample
    by_uid = {sample.instance: sample for sample in stored}
    assert len(came) > 0.8 * len(stored)
    same = [uid for uid, one in came.items() if one.syntax == by_uid[uid].syntax]
    assert len(same) > 0.8 * len(came)
    for uid in same:
        assert came[uid].data_set == by_uid[uid].data_set, by_uid[uid].name
    for uid, sample in came.items():
        assert sample.sop_class == by_uid[uid].sop_class
