"""C-ECHO and C-STORE: what arrives is what is stored, and the answer is the archive's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
)

from app.dicom.transfer_syntaxes import ROWS
from app.dimse import status
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
    transfer_syntax_of,
    until_forwarded,
)
from tests.factories import make_dataset, make_non_patient, make_part10, make_series, new_uid
from tests.live_server import FILEROOM, LiveServer, clean_environment

PRIVATE = "1.3.12.2.1107.5.9.1"
RETIRED = "1.2.840.10008.5.1.4.1.1.6"  # Ultrasound Image Storage of 1993
CT, MR = str(CTImageStorage), str(MRImageStorage)


def _file(directory: Path, data: bytes) -> Path:
    path = directory / "sent.dcm"
    path.write_bytes(data)
    return path


@contextmanager
def _recorder(directory: Path, *options: str) -> Iterator[int]:
    """Run DCMTK's `storescp`, which writes what arrives bit by bit."""
    port = free_port()
    with subprocess.Popen(
        [DCMTK / "storescp", "-q", "+B", *options, "-od", directory, str(port)]
    ) as process:
        try:
            for _ in range(200):
                if dcmtk("echoscu", "127.0.0.1", str(port), good=False).returncode == 0:
                    break
            yield port
        finally:
            process.terminate()


def test_echoscu_is_answered(bridge: RunningBridge) -> None:
    assert (
        "Success"
        in dcmtk("echoscu", "-v", *called(bridge)).stderr
        + dcmtk("echoscu", "-v", *called(bridge)).stdout
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="as it is"),
        pytest.param(("-xe",), id="explicit"),
        pytest.param(("-xi",), id="implicit"),
        pytest.param(("-xb",), id="big endian"),
        pytest.param(("-R",), id="only required"),
        pytest.param(("--max-send-pdu", "4096"), id="small PDUs"),
        pytest.param(("--max-pdu", "4096"), id="small PDUs to receive"),
    ],
)
def test_what_storescu_sends_is_what_is_stored(
    archive: LiveServer, bridge: RunningBridge, tmp_path: Path, options: tuple[str, ...]
) -> None:
    dataset = make_dataset(Rows=64, Columns=64)
    path = _file(tmp_path, make_part10(dataset))
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    with _recorder(recorded, "+xa") as port:
        dcmtk("storescu", *options, "127.0.0.1", str(port), path)
    dcmtk("storescu", *options, *called(bridge), path)
    stored = archive.stored_object(dataset.SOPInstanceUID)
    (wire,) = recorded.iterdir()
    assert data_set_of(stored) == data_set_of(wire.read_bytes())
    assert transfer_syntax_of(stored) == transfer_syntax_of(wire.read_bytes())


def test_the_file_meta_information_is_the_same_for_the_same_instance(
    archive: LiveServer, bridge: RunningBridge
) -> None:
    data = data_set_of(make_part10(dataset := make_dataset()))
    with associated(bridge, (CT, ExplicitVRLittleEndian), calling="ONE") as association:
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
    first = archive.stored_object(dataset.SOPInstanceUID)
    with associated(bridge, (CT, ExplicitVRLittleEndian), calling="OTHER") as association:
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
    assert archive.stored_object(dataset.SOPInstanceUID) == first


def test_the_same_image_encoded_in_another_way_is_a_success(bridge: RunningBridge) -> None:
    dataset = make_dataset()
    contexts = (CT, ExplicitVRLittleEndian), (CT, ImplicitVRLittleEndian)
    for context in contexts:
        data = data_set_of(make_part10(dataset, transfer_syntax=context[1]))
        with associated(bridge, context) as association:
            assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")


def test_another_image_of_the_same_uid_is_refused_and_the_first_stays(
    archive: LiveServer, bridge: RunningBridge
) -> None:
    uid = new_uid()
    first, other = (
        data_set_of(make_part10(make_dataset(SOPInstanceUID=uid, PatientID=name)))
        for name in ("FIRST", "OTHER")
    )
    with associated(bridge, (CT, ExplicitVRLittleEndian)) as association:
        assert send_bytes(association, first, CT, uid) == (0, "")
        code, comment = send_bytes(association, other, CT, uid)
    assert (code, bool(comment)) == (0xC111, True)
    assert data_set_of(archive.stored_object(uid)) == first


@pytest.mark.parametrize("syntax", [row.uid for row in ROWS if not row.deflated])
def test_every_transfer_syntax_that_the_archive_keeps_is_stored(
    archive: LiveServer, bridge: RunningBridge, syntax: str
) -> None:
    encoding = syntax if syntax in {ImplicitVRLittleEndian} else ExplicitVRLittleEndian
    row = next(row for row in ROWS if row.uid == syntax)
    if row.implicit:
        encoding = str(ImplicitVRLittleEndian)
    if row.encapsulated:
        encoding = str(JPEG2000Lossless)
    if row.big_endian:
        encoding = syntax
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset, transfer_syntax=encoding))
    with associated(bridge, (CT, syntax)) as association:
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
    stored = archive.stored_object(dataset.SOPInstanceUID)
    assert data_set_of(stored) == data
    assert transfer_syntax_of(stored) == syntax


@pytest.mark.parametrize("sop_class", [PRIVATE, RETIRED, "2.25.77"])
def test_private_retired_and_unknown_sop_classes_are_stored(
    archive: LiveServer, bridge: RunningBridge, sop_class: str
) -> None:
    dataset = make_dataset(SOPClassUID=sop_class)
    data = data_set_of(make_part10(dataset))
    with associated(bridge, (sop_class, ExplicitVRLittleEndian)) as association:
        assert send_bytes(association, data, sop_class, dataset.SOPInstanceUID) == (0, "")
    assert data_set_of(archive.stored_object(dataset.SOPInstanceUID)) == data


def test_a_hanging_protocol_is_stored_where_those_are(
    archive: LiveServer, bridge: RunningBridge
) -> None:
    sop_class = "1.2.840.10008.5.1.4.38.1"
    dataset = make_non_patient(sop_class, HangingProtocolName="Chest")
    data = data_set_of(make_part10(dataset))
    with associated(bridge, (sop_class, ExplicitVRLittleEndian)) as association:
        assert send_bytes(association, data, sop_class, dataset.SOPInstanceUID) == (0, "")
    url = f"{archive.dicomweb}/hanging-protocols?SOPInstanceUID={dataset.SOPInstanceUID}"
    assert len(httpx.get(url).json()) == 1


def test_dcmsend_brings_a_series_of_many_syntaxes(
    archive: LiveServer, bridge: RunningBridge, tmp_path: Path
) -> None:
    series = make_series(12)
    for number, dataset in enumerate(series):
        syntax = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless)[number % 3]
        data = make_part10(dataset, transfer_syntax=syntax)
        (tmp_path / f"{number}.dcm").write_bytes(data)
    dcmtk("dcmsend", "+sd", *called(bridge), tmp_path)
    study = series[0].StudyInstanceUID
    found = httpx.get(f"{archive.dicomweb}/studies/{study}/instances").json()
    assert len(found) == 12


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"StudyInstanceUID": None}, 0xA900, id="no study"),
        pytest.param({"SOPInstanceUID": "1.2.840.99999.1"}, status.OTHER_IDENTITY, id="other UID"),
        pytest.param({"SOPClassUID": MR}, status.OTHER_IDENTITY, id="other class"),
    ],
)
def test_a_data_set_that_is_not_what_was_named_is_told(
    bridge: RunningBridge, change: dict[str, str | None], code: int
) -> None:
    dataset = make_dataset()
    uid = dataset.SOPInstanceUID
    for keyword, value in change.items():
        setattr(dataset, keyword, value or "")
    data = data_set_of(make_part10(dataset))
    with associated(bridge, (CT, ExplicitVRLittleEndian)) as association:
        assert send_bytes(association, data, CT, uid)[0] == code


def test_what_cannot_be_understood_is_refused(bridge: RunningBridge) -> None:
    with associated(bridge, (CT, ExplicitVRLittleEndian)) as association:
        code, comment = send_bytes(association, b"no DICOM at all " * 9, CT, new_uid())
    assert code >> 12 == 0xC or code >> 8 == 0xA9
    assert comment


def test_a_data_set_over_the_limit_is_refused_and_the_association_goes_on(
    archive: LiveServer,
) -> None:
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    with (
        bridge_to(archive, data_set_bytes=len(data)) as bridge,
        associated(bridge, (CT, ExplicitVRLittleEndian)) as association,
    ):
        code, comment = send_bytes(association, data + bytes(2), CT, dataset.SOPInstanceUID)
        assert (code, "larger than" in comment) == (0xA700, True)
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")


def test_a_large_data_set_waits_in_a_file(archive: LiveServer, tmp_path: Path) -> None:
    dataset = make_dataset(Rows=700, Columns=700)
    data = data_set_of(make_part10(dataset))
    with (
        bridge_to(archive, memory_bytes=2**16, directory=tmp_path) as bridge,
        associated(bridge, (CT, ExplicitVRLittleEndian)) as association,
    ):
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
    assert data_set_of(archive.stored_object(dataset.SOPInstanceUID)) == data
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_not_there_is_out_of_resources() -> None:
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        bridge_to(nowhere, patience_seconds=0.2) as bridge,
        associated(bridge, (CT, ExplicitVRLittleEndian)) as association,
    ):
        code, comment = send_bytes(association, data, CT, dataset.SOPInstanceUID)
    assert (code, comment) == (0xA700, "the archive does not answer")


@pytest.fixture(scope="module")
def _labelled_by_rule(archive: LiveServer) -> None:
    rule = ["label", "rules", "add", "ward:7", "--calling-ae", "WARD"]
    arguments = [FILEROOM, *rule, "--data-dir", str(archive.data_dir)]
    subprocess.run(arguments, env=clean_environment(), check=True, timeout=60)


@pytest.mark.usefixtures("_labelled_by_rule")
@pytest.mark.parametrize("spooled", [False, True])
def test_the_archive_knows_which_ae_has_stored(
    archive: LiveServer, tmp_path: Path, spooled: bool
) -> None:
    mine, other = make_dataset(), make_dataset()
    spool = tmp_path / "spool" if spooled else None
    with bridge_to(archive, spool=spool) as bridge:
        for calling, dataset in (("WARD", mine), ("OTHER", other)):
            with associated(bridge, (CT, ExplicitVRLittleEndian), calling=calling) as association:
                data = data_set_of(make_part10(dataset))
                assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
        until_forwarded(bridge)
    labels = [
        httpx.get(f"{archive.url}/api/v1/studies/{one.StudyInstanceUID}/labels").json()["labels"]
        for one in (mine, other)
    ]
    assert labels == [["ward:7"], []]
