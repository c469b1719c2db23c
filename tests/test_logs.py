"""The form of logs."""

import json
import logging

import pytest
import structlog

from app.logs import ACCESS, configure_logs


@pytest.fixture(autouse=True)
def _restored() -> object:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_a_json_line_holds_level_time_and_what_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    structlog.get_logger().info("stored", study="1.2.3")
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "stored", "level": "info", "study": "1.2.3"}


def test_libraries_come_out_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    logging.getLogger("library").warning("%s is odd", "this", extra={"more": 1})
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["more"]) == ("this is odd", "warning", 1)


def test_an_exception_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("request failed", request_id="abc")
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: broken" in json.loads(line)["exception"]


def test_a_person_gets_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "console")
    structlog.get_logger().info("stored", study="1.2.3")
    assert "stored" in capsys.readouterr().err


def test_auto_is_json_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    structlog.get_logger().info("stored")
    assert json.loads(capsys.readouterr().err)["event"] == "stored"


@pytest.mark.parametrize(("level", "lines"), [("info", 1), ("warning", 0), ("debug", 1)])
def test_below_the_level_nothing_is_written(
    capsys: pytest.CaptureFixture[str], level: str, lines: int
) -> None:
    configure_logs(level, "json")
    structlog.get_logger().info("stored")
    assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize("access", [True, False])
def test_requests_are_logged_only_when_asked_for(access: bool) -> None:
    configure_logs("info", "json", access=access)
    assert logging.getLogger(ACCESS).isEnabledFor(logging.INFO) is access
