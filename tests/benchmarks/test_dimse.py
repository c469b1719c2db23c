"""The page of what was measured by DIMSE, and what the servers are told."""

import json
from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks.dimse_report import ON_POSTGRESQL, ROWS, build_dimse_page, judge
from benchmarks.dimse_servers import dcmqrscp, ours
from benchmarks.tasks import Sample


@pytest.mark.parametrize(("figure", "verdict"), [(71, "0.7 ×: yes"), (69, "0.7 ×: **no**")])
def test_one_association_is_held_against_orthancs(figure: float, verdict: str) -> None:
    measured = {"Fileroom": [Sample(figure)], "Orthanc": [Sample(100)]}
    assert judge(ROWS[0], measured) == verdict
    assert judge(ROWS[2], measured) == judge(ROWS[0], {"Fileroom": [Sample(1)]}) == ""


def test_both_are_held_against_orthanc_on_postgresql() -> None:
    measured = {"Fileroom": [Sample(90)], "Orthanc": [Sample(80)], ON_POSTGRESQL: [Sample(91)]}
    assert judge(ROWS[1], measured) == "1 ×: yes, 1 × PostgreSQL: **no**"


def test_each_archive_has_a_column_and_each_row_a_line() -> None:
    figures = {
        "store-one": {"Fileroom": [Sample(210.4), Sample(190)], "dcmqrscp": [Sample(250)]},
        "move": {"Fileroom": [Sample(99.5)]},
    }
    page = build_dimse_page(figures, 400, 3, {"DCMTK": "v3"})
    assert "| what | unit | Fileroom | dcmqrscp | asked for |" in page
    assert "| C-STORE, one association | inst/s | 200 [190–210] | 250 [250–250] |" in page
    assert "| C-MOVE of a series | inst/s | 100 [100–100] | – |" in page
    assert "C-FIND" not in page.split("|---")[1]


def test_our_bridge_knows_the_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = ours(tmp_path, 4711, 2)
    for name, value in archive.server.environment.items():
        monkeypatch.setenv(name, value)
    dimse = Settings().dimse
    assert (dimse.port, dimse.processes) == (archive.port, 2)
    assert [(one.ae_title, one.port) for one in dimse.peers] == [("RECEIVER", 4711)]
    assert json.loads(archive.server.environment["FILEROOM_DIMSE__PEERS"])


def test_dcmqrscp_is_configured_for_the_receiver(tmp_path: Path) -> None:
    archive = dcmqrscp(tmp_path, 4711)
    written = (tmp_path / "dcmqrscp.cfg").read_text()
    assert "receiver = (RECEIVER, localhost, 4711)" in written
    assert f"NetworkTCPPort = {archive.port}" in written
