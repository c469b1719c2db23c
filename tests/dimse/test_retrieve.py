"""C-GET and C-MOVE: what comes is what is stored, or the same in an encoding that is taken."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from app.dimse.peers import Peer
from benchmarks.server import free_port
from tests.bridges import DCMTK, RunningBridge, associated, bridge_to, called, data_set_of, dcmtk
from tests.factories import make_dataset, make_part10, make_series
from tests.live_server import LiveServer

GET = str(StudyRootQueryRetrieveInformationModelGet)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)
CT = str(CTImageStorage)


def _store(archive: LiveServer, data: bytes) -> None:
    sent = httpx.post(
        f"{archive.dicomweb}/studies",
        content=data,
        headers={"Content-Type": "application/dicom"},
    )
    assert sent.status_code == 200, sent.text


@pytest.fixture(scope="module")
def series(archive: LiveServer) -> list[Dataset]:
    """A Series of six Instances, half of them in Implicit VR."""
    made = make_series(6, PatientID="RETRIEVE")
    for number, dataset in enumerate(made):
        syntax = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)[number % 2]
        _store(archive, make_part10(dataset, transfer_syntax=syntax))
    return made


@contextmanager
def _destination(directory: Path, *options: str) -> Iterator[Peer]:
    """Run DCMTK's storescp as a destination; it writes what arrives bit by bit."""
    port = free_port()
    arguments = ["-q", "+B", *options, "-od", str(directory), str(port)]
    with subprocess.Popen([str(DCMTK / "storescp"), *arguments]) as process:
        try:
            for _ in range(200):
                if dcmtk("echoscu", "127.0.0.1", str(port), good=False).returncode == 0:
                    break
            yield Peer("STORE", "127.0.0.1", port)
        finally:
            process.terminate()


def _keys(level: str, **keys: str) -> list[str]:
    named = [f"QueryRetrieveLevel={level}", *(f"{name}={value}" for name, value in keys.items())]
    return [part for key in named for part in ("-k", key)]


def _levels(series: list[Dataset]) -> list[tuple[list[str], int]]:
    one = series[0]
    study, inner = one.StudyInstanceUID, one.SeriesInstanceUID
    uids = "\\".join(dataset.SOPInstanceUID for dataset in series[:3])
    return [
        (_keys("PATIENT", PatientID="RETRIEVE"), 6),
        (_keys("STUDY", StudyInstanceUID=study), 6),
        (_keys("SERIES", StudyInstanceUID=study, SeriesInstanceUID=inner), 6),
        (_keys("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=inner, SOPInstanceUID=uids), 3),
    ]


@pytest.mark.parametrize("number", range(4), ids=["patient", "study", "series", "images"])
def test_movescu_has_instances_of_every_level_sent_as_they_are_stored(
    archive: LiveServer, series: list[Dataset], tmp_path: Path, number: int
) -> None:
    keys, count = _levels(series)[number]
    with _destination(tmp_path, "+xa") as peer, bridge_to(archive, peers=(peer,)) as bridge:
        dcmtk("movescu", "-P", "-aem", "STORE", *called(bridge), *keys)
    came = {dcmread(path).SOPInstanceUID: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(came) == count
    for uid, data in came.items():
        assert data_set_of(data) == data_set_of(archive.stored_object(uid))


@pytest.mark.parametrize("number", range(4), ids=["patient", "study", "series", "images"])
def test_getscu_gets_instances_of_every_level(
    bridge: RunningBridge, series: list[Dataset], tmp_path: Path, number: int
) -> None:
    keys, count = _levels(series)[number]
    dcmtk("getscu", "-P", "+B", "-od", tmp_path, *called(bridge), *keys)
    came = {dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()}
    assert len(came) == count
    assert came <= {dataset.SOPInstanceUID for dataset in series}


@pytest.mark.parametrize(("issuer", "count"), [("Fileroom", 6), ("Elsewhere", 0)])
def test_a_patient_may_be_named_by_the_issuer_too(
    bridge: RunningBridge, series: list[Dataset], tmp_path: Path, issuer: str, count: int
) -> None:
    keys = _keys("PATIENT", PatientID="RETRIEVE", IssuerOfPatientID=issuer)
    dcmtk("getscu", "-P", "+B", "-od", tmp_path, *called(bridge), *keys)
    assert len(list(tmp_path.iterdir())) == count


@pytest.mark.parametrize(
    ("root", "patient", "count"),
    [("-P", "RETRIEVE", 6), ("-P", "SOMEBODY ELSE", 0), ("-P", "", 6), ("-S", "ANY", 6)],
)
def test_in_patient_root_a_study_is_that_of_the_named_patient(
    bridge: RunningBridge,
    series: list[Dataset],
    tmp_path: Path,
    root: str,
    patient: str,
    count: int,
) -> None:
    keys = _keys("STUDY", PatientID=patient, StudyInstanceUID=series[0].StudyInstanceUID)
    dcmtk("getscu", root, "+B", "-od", tmp_path, *called(bridge), *keys)
    assert len(list(tmp_path.iterdir())) == count


def _get(bridge: RunningBridge, level: Dataset, *syntaxes: str) -> tuple[dict[str, Any], list[Any]]:
    """Get over one association; return what came by its UID, and the statuses."""
    came: dict[str, tuple[str, bytes]] = {}

    def keep(event: Any) -> int:
        data = event.request.DataSet.getvalue()
        came[event.request.AffectedSOPInstanceUID] = (event.context.transfer_syntax, data)
        return 0

    pairs = [(CT, syntax) for syntax in syntaxes]
    with associated(
        bridge,
        (GET, ExplicitVRLittleEndian),
        *pairs,
        ext_neg=[build_role(CT, scp_role=True, scu_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    ) as association:
        answers = [status for status, _ in association.send_c_get(level, GET)]
    return came, answers


def _study(dataset: Dataset) -> Dataset:
    level = Dataset()
    level.QueryRetrieveLevel = "STUDY"
    level.StudyInstanceUID = dataset.StudyInstanceUID
    return level


@pytest.mark.parametrize(
    ("stored", "taken"),
    [
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (RLELossless, ImplicitVRLittleEndian),
        (RLELossless, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, JPEGLSLossless),
    ],
)
def test_what_a_peer_does_not_take_is_written_in_what_it_takes(
    archive: LiveServer, bridge: RunningBridge, stored: str, taken: str
) -> None:
    dataset = make_dataset(Rows=64, Columns=64)
    data = make_part10(dataset)
    if stored == ImplicitVRLittleEndian:
        data = make_part10(dataset, transfer_syntax=stored)
    if stored == RLELossless:
        compressed = dcmread_bytes(data)
        compressed.compress(RLELossless, generate_instance_uid=False)
        data = written(compressed)
    _store(archive, data)
    came, answers = _get(bridge, _study(dataset), taken)
    assert answers[-1].Status == 0
    ((syntax, received),) = came.values()
    assert syntax == taken
    same = dcmread_dataset(received, taken)
    assert (same.pixel_array == dcmread_bytes(make_part10(dataset)).pixel_array).all()
    assert same.PatientName == dataset.PatientName
    assert len(same) >= len(dataset)


def dcmread_bytes(data: bytes) -> Any:
    from io import BytesIO  # noqa: PLC0415

    return dcmread(BytesIO(data))


def written(dataset: Any) -> bytes:
    from io import BytesIO  # noqa: PLC0415

    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def dcmread_dataset(data: bytes, syntax: str) -> Any:
    from app.dicom.file_meta import add_file_meta  # noqa: PLC0415

    return dcmread_bytes(add_file_meta(CT, "1.2", syntax) + data)


def test_what_no_context_takes_fails_and_is_listed(
    archive: LiveServer, bridge: RunningBridge
) -> None:
    dataset = make_dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    _store(archive, make_part10(dataset))
    came, answers = _get(bridge, _study(dataset), ExplicitVRLittleEndian)
    assert came == {}
    assert (answers[-1].Status, answers[-1].NumberOfFailedSuboperations) == (0xA702, 1)


def test_unknown_destinations_are_refused(bridge: RunningBridge, series: list[Dataset]) -> None:
    with associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association:
        answers = [one for one, _ in association.send_c_move(_study(series[0]), "NOWHERE", MOVE)]
    assert [one.Status for one in answers] == [0xA801]


def test_a_destination_that_is_not_there_fails_them_all(
    archive: LiveServer, series: list[Dataset]
) -> None:
    peers = (Peer("AWAY", "127.0.0.1", free_port()),)
    with (
        bridge_to(archive, peers=peers) as bridge,
        associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association,
    ):
        (answer,) = [one for one, _ in association.send_c_move(_study(series[0]), "AWAY", MOVE)]
    assert (answer.Status, answer.NumberOfFailedSuboperations) == (0xA702, 6)


def test_sub_operations_are_counted_and_a_cancel_ends_them(
    archive: LiveServer, series: list[Dataset]
) -> None:
    entity = AE("STORE")
    entity.add_supported_context(CT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    came: list[tuple[str, int]] = []
    cancelling: list[Any] = []

    def keep(event: Any) -> int:
        request = event.request
        came.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        if len(came) == 2:
            cancelling[0].send_c_cancel(9, query_model=MOVE)
        return 0

    server = entity.start_server(("127.0.0.1", 0), False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    peers = (Peer("STORE", "127.0.0.1", server.server_address[1]),)
    try:
        with (
            bridge_to(archive, peers=peers) as bridge,
            associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association,
        ):
            cancelling.append(association)
            asked = association.send_c_move(_study(series[0]), "STORE", MOVE, msg_id=9)
            answers = [one for one, _ in asked]
    finally:
        server.shutdown()
    assert set(came) == {("MODALITY", 9)}
    pending = [one for one in answers if one.Status == 0xFF00]
    numbers = [
        (one.NumberOfRemainingSuboperations, one.NumberOfCompletedSuboperations) for one in pending
    ]
    assert numbers == [(6 - number, number) for number in range(1, len(numbers) + 1)]
    assert (answers[-1].Status == 0xFE00) == (len(came) < 6)
    assert answers[-1].NumberOfCompletedSuboperations == len(came)


@contextmanager
def _silent() -> Iterator[tuple[Peer, threading.Event]]:
    """A destination that answers no C-STORE; it says when it has one."""
    entity, asked, ended = AE("SILENT"), threading.Event(), threading.Event()
    entity.add_supported_context(CT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])

    def hang(_: Any) -> int:
        asked.set()
        ended.wait(60)
        return 0

    server = entity.start_server(("127.0.0.1", 0), False, evt_handlers=[(evt.EVT_C_STORE, hang)])
    assert server is not None
    try:
        yield Peer("SILENT", "127.0.0.1", server.server_address[1]), asked
    finally:
        ended.set()
        server.shutdown()


def test_a_destination_that_does_not_answer_is_waited_for_once(
    archive: LiveServer, series: list[Dataset]
) -> None:
    with (
        _silent() as (peer, _),
        bridge_to(archive, peers=(peer,), idle_seconds=2) as bridge,
        associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association,
    ):
        answers = [one for one, _ in association.send_c_move(_study(series[0]), "SILENT", MOVE)]
    assert (answers[-1].Status, answers[-1].NumberOfFailedSuboperations) == (0xA702, 6)


def test_a_cancel_ends_the_wait_for_a_destination_that_does_not_answer(
    archive: LiveServer, series: list[Dataset]
) -> None:
    with (
        _silent() as (peer, asked),
        bridge_to(archive, peers=(peer,), idle_seconds=600) as bridge,
        associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association,
    ):

        def cancel() -> None:
            asked.wait(60)
            association.send_c_cancel(9, query_model=MOVE)

        threading.Thread(target=cancel).start()
        asked_for = association.send_c_move(_study(series[0]), "SILENT", MOVE, msg_id=9)
        answers = [one for one, _ in asked_for]
    assert answers[-1].Status == 0xFE00


@pytest.mark.parametrize(
    "keys",
    [
        {"QueryRetrieveLevel": "STUDY"},
        {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2"},
        {"QueryRetrieveLevel": "PATIENT", "PatientID": "RETR*"},
        {"QueryRetrieveLevel": "PATIENT", "PatientID": ""},
        {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2", "PatientID": "A\\B"},
        {"StudyInstanceUID": "1.2"},
    ],
)
def test_what_names_nothing_is_refused(bridge: RunningBridge, keys: dict[str, str]) -> None:
    level = Dataset()
    for keyword, value in keys.items():
        setattr(level, keyword, value)
    model = str(PatientRootQueryRetrieveInformationModelMove)
    with associated(bridge, (model, ExplicitVRLittleEndian)) as association:
        answers = [one for one, _ in association.send_c_move(level, "STORE", model)]
    assert [one.Status for one in answers] == [0xA900]


def test_study_root_has_no_patient_level(bridge: RunningBridge, series: list[Dataset]) -> None:
    level = Dataset()
    level.QueryRetrieveLevel, level.PatientID = "PATIENT", "RETRIEVE"
    with associated(bridge, (GET, ExplicitVRLittleEndian)) as association:
        got = [one.Status for one, _ in association.send_c_get(level, GET)]
    with associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association:
        moved = [one.Status for one, _ in association.send_c_move(level, "STORE", MOVE)]
    assert (got, moved) == ([0xA900], [0xA900])
