"""Peers that fetch meets: without C-GET, silent, or saying what is not so; each told in words."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from app.dimse import asking, pulling
from app.dimse.asking import Said, element
from app.dimse.find import UNIQUE_KEYS
from app.dimse.messages import Store, StoreRequest
from app.dimse.migration import Migration
from app.dimse.originals import PLAIN
from app.dimse.peers import Peer
from app.dimse.pulling import MOST_UIDS, STUDY, Named, Paced, Part, Puller
from app.dimse.server import Speaker
from tests.bridges import PATIENCE, RunningBridge, associated, data_set_of, send_bytes
from tests.factories import make_dataset, make_part10, make_series, new_uid

CT = str(CTImageStorage)
FIND = str(StudyRootQueryRetrieveInformationModelFind)
GET = str(StudyRootQueryRetrieveInformationModelGet)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)
BY_MOVE = "have it send to a bridge of this archive by C-MOVE (--move-to AE_TITLE)"


@dataclass
class _Old:
    """An old PACS: what it has, where it sends to, and how."""

    datasets: list[Dataset]
    port: int = 0
    bridge: RunningBridge | None = None
    pause: float = 0.0
    was_cancelled: bool = False

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Answer with the Series or Instances of the Study."""
        asked = event.identifier
        keyword = {"SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
        told = set[str]()
        for one in self.datasets:
            uid = str(one[keyword[asked.QueryRetrieveLevel]].value)
            if uid in told or asked.get("SeriesInstanceUID", "") not in {"", one.SeriesInstanceUID}:
                continue
            told.add(uid)
            match = Dataset()
            match.SeriesInstanceUID, match.SOPClassUID = one.SeriesInstanceUID, one.SOPClassUID
            match.SOPInstanceUID = one.SOPInstanceUID
            yield 0xFF00, match

    def get(self, _: Any) -> Iterator[Any]:
        """Send all that there is."""
        yield len(self.datasets)
        for one in self.datasets:
            yield 0xFF00, one

    def say_it_is_done(self, _: Any) -> Iterator[Any]:
        """Send, if there is a bridge, and say then that there was nothing to send."""
        if self.bridge is not None:
            with associated(self.bridge, (CT, ExplicitVRLittleEndian)) as association:
                for one in self.datasets:
                    time.sleep(self.pause)
                    data = data_set_of(make_part10(one))
                    assert send_bytes(association, data, CT, one.SOPInstanceUID) == (0, "")
        yield "127.0.0.1", self.bridge.port if self.bridge else self.port
        yield 0

    def send_until_cancelled(self, event: Any) -> Iterator[Any]:
        """Send one, and no more, until somebody cancels."""
        assert self.bridge is not None
        contexts = [build_context(CT, ExplicitVRLittleEndian)]
        yield "127.0.0.1", self.bridge.port, {"ae_title": "FILEROOM", "contexts": contexts}
        yield 2
        yield 0xFF00, dcmread(BytesIO(make_part10(self.datasets[0])))
        end = time.monotonic() + PATIENCE
        while not self.was_cancelled and time.monotonic() < end:
            time.sleep(0.02)
            self.was_cancelled = bool(event.is_cancelled)  # is true once
        yield 0xFE00, None


@contextmanager
def _listening(old: _Old, *supported: str, **handlers: Any) -> Iterator[Peer]:
    entity = AE("OLD")
    for sop_class in (FIND, *supported):
        entity.add_supported_context(sop_class, list(PLAIN))
    handled: list[Any] = [(evt.EVT_C_FIND, old.find)]
    handled += [(getattr(evt, f"EVT_C_{name.upper()}"), one) for name, one in handlers.items()]
    server = entity.start_server(("127.0.0.1", 0), False, evt_handlers=handled)
    assert server is not None
    old.port = server.server_address[1]
    try:
        yield Peer("OLD", "127.0.0.1", old.port)
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("supported", "told"),
    [
        ((MOVE,), f"OLD takes no association for C-GET: {BY_MOVE}"),
        ((MOVE, CT), f"OLD offers no C-GET: {BY_MOVE}"),
        ((MOVE, GET, CT), f"OLD does not send CT Image Storage by C-GET: {BY_MOVE}"),
    ],
)
def test_who_does_not_send_by_c_get_is_told_with_the_way_out(
    ours: Speaker, supported: tuple[str, ...], told: str
) -> None:
    old = _Old([make_dataset()])
    study = str(old.datasets[0].StudyInstanceUID)
    with _listening(old, *supported, get=old.get) as peer:
        done = Migration(ours.archive, ours.caller, peer, PATIENCE).bring(study)
    assert (done.trouble, len(done.missing), done.good) == (told, 1, False)


def test_a_peer_without_c_move_is_told(ours: Speaker) -> None:
    old = _Old([make_dataset()])
    study = str(old.datasets[0].StudyInstanceUID)
    with _listening(old) as peer:
        migration = Migration(ours.archive, ours.caller, peer, PATIENCE, move_to="FILEROOM")
        assert migration.bring(study).trouble == "OLD takes no association for C-MOVE"


def test_what_was_sent_elsewhere_is_not_believed(ours: Speaker) -> None:
    old = _Old([make_dataset()])
    study = str(old.datasets[0].StudyInstanceUID)
    with _listening(old, MOVE, move=old.say_it_is_done) as peer:
        migration = Migration(
            ours.archive, ours.caller, peer, PATIENCE, move_to="ELSEWHERE", spool_seconds=0.1
        )
        done = migration.bring(study)
    assert done.missing == [old.datasets[0].SOPInstanceUID]
    assert done.trouble == (
        "OLD says that all was sent to ELSEWHERE, which is not so, "
        "or that is no bridge of this archive"
    )


@pytest.mark.slow
def test_a_peer_that_says_nothing_while_it_sends_is_waited_for(
    ours: Speaker, bridge: RunningBridge
) -> None:
    old = _Old(make_series(5), bridge=bridge, pause=1)
    study = str(old.datasets[0].StudyInstanceUID)
    with _listening(old, MOVE, move=old.say_it_is_done) as peer:
        migration = Migration(ours.archive, ours.caller, peer, 3, move_to="FILEROOM")
        done = migration.bring(study)
    assert (done.named, done.known, done.missing, done.trouble) == (5, 0, [], "")


def test_who_stops_following_a_c_move_cancels_it(ours: Speaker, bridge: RunningBridge) -> None:
    old = _Old([make_dataset()], bridge=bridge)
    keys = {STUDY: element("UI", str(old.datasets[0].StudyInstanceUID))}
    with _listening(old, MOVE, move=old.send_until_cancelled) as peer:
        association = ours.caller.call(peer, [(asking.MOVE_MODEL, PLAIN)])
        assert association is not None
        answers = asking.move(association, "STUDY", keys, "FILEROOM", PATIENCE, lambda: False)
        with closing(cast("Generator[Said, None, None]", answers)):
            assert next(answers).completed == 1
        association.end()
    assert old.was_cancelled


def test_the_uids_of_one_retrieval_fit_into_its_identifier(ours: Speaker) -> None:
    series, other = new_uid(), new_uid()
    named = {f"{series}.{number}": Named(series, CT) for number in range(2 * MOST_UIDS)}
    named |= {f"{other}.1": Named(other, CT)}
    missing = set(list(named)[1:])
    got = Puller(ours.archive, ours.caller, Peer("OLD"), 1)
    parts = list(got.parts(new_uid(), named, missing))
    assert sorted(len(part.missing) for part in parts) == [1, MOST_UIDS - 1, MOST_UIDS]
    assert {part.level for part in parts} == {"IMAGE"}
    assert {uid for part in parts for uid in part.missing} == missing
    moved = Puller(ours.archive, ours.caller, Peer("OLD"), 1, "FILEROOM")
    levels = sorted(part.level for part in moved.parts(new_uid(), named, missing))
    assert levels == ["IMAGE", "IMAGE", "SERIES"]
    (whole,) = moved.parts(new_uid(), named, set(named))
    assert whole.level == "STUDY"
    assert UNIQUE_KEYS["SERIES"] not in whole.keys


def test_what_comes_by_c_get_is_answered_at_the_rate() -> None:
    """A peer sends the next Instance when the last one is answered, so the bound is a real one."""
    request = cast("StoreRequest", None)
    store = Paced(lambda _: (0, ""), 50)
    begun = time.monotonic()
    assert not store.arriving()
    assert {store(request) for _ in range(10)} == {(0, "")}
    assert time.monotonic() - begun >= 10 / 50
    assert (store.arriving(), store.arriving()) == (True, False)


def test_a_puller_stores_at_its_rate(
    ours: Speaker, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def paced(store: Store, rate: float) -> Paced:
        rates.append(rate)
        return Paced(store, rate)

    monkeypatch.setattr(pulling, "Paced", paced)
    peer = Peer("FILEROOM", "127.0.0.1", bridge.port)
    puller = Puller(ours.archive, ours.caller, peer, PATIENCE, rate=7)
    part = Part("STUDY", {STUDY: element("UI", new_uid())}, ())
    puller.pull(part, {}, lambda: False, lambda _: None)
    assert rates == [7]
