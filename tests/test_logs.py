"""The form of logs."""

import asyncio
import json
import logging
import re
from typing import Literal

import asyncpg
import pytest
import structlog

from app.errors import NotFound
from app.logs import ACCESS, configure_logs, discreet_traceback


def test_a_json_line_holds_level_time_and_what_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    structlog.get_logger("app.test").info("stored", study="1.2.3")
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
        structlog.get_logger("app.test").exception("request failed", request_id="abc")
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: (not said" in json.loads(line)["exception"]


def test_a_person_gets_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "console")
    structlog.get_logger("app.test").info("stored", study="1.2.3")
    assert "stored" in capsys.readouterr().err


def test_auto_is_json_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    structlog.get_logger("app.test").info("stored")
    assert json.loads(capsys.readouterr().err)["event"] == "stored"


@pytest.mark.parametrize(("level", "lines"), [("info", 1), ("warning", 0), ("debug", 1)])
def test_below_the_level_nothing_is_written(
    capsys: pytest.CaptureFixture[str], level: str, lines: int
) -> None:
    configure_logs(level, "json")
    structlog.get_logger("app.test").info("stored")
    assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize("access", [True, False])
def test_requests_are_logged_only_when_asked_for(access: bool) -> None:
    configure_logs("info", "json", access=access)
    assert logging.getLogger(ACCESS).isEnabledFor(logging.INFO) is access


def said_of(error: BaseException) -> str:
    """Return how an error stands in the log."""
    try:
        raise error
    except type(error) as caught:
        return discreet_traceback((type(caught), caught, caught.__traceback__))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("Doe^John"), "ValueError: (not said: it may quote a value)"),
        (KeyError("Doe^John"), "KeyError: (not said: it may quote a value)"),
        (UnicodeDecodeError("ascii", b"Doe^John", 0, 1, "no"), "UnicodeDecodeError: (not said"),
        (FileNotFoundError(2, "No such file", "/Doe^John"), "FileNotFoundError: No such file"),
        (OSError("Doe^John"), "OSError: (not said)"),
        (AttributeError("'None' object has no attribute 'x'"), "no attribute 'x'"),
        (NotFound("Study", "1.2.3"), "app.errors.NotFound: Study 1.2.3 not found"),
        (asyncpg.UniqueViolationError("Doe^John"), "UniqueViolationError: (not said"),
    ],
)
def test_a_traceback_says_of_what_kind_an_error_is_and_quotes_no_value(
    error: Exception, said: str
) -> None:
    text = said_of(error)
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in said_of" in text
    assert said in text.splitlines()[-1]
    assert "Doe^John" not in text


def test_what_an_error_came_of_is_told_before_it_and_quotes_nothing_either() -> None:
    try:
        try:
            int("Doe^John")
        except ValueError as first:
            raise ExceptionGroup(
                "Doe^John", [KeyError("Doe^John"), OSError(5, "broken")]
            ) from first
    except ExceptionGroup as caught:
        text = discreet_traceback((type(caught), caught, caught.__traceback__))
    kinds = [line.partition(":")[0] for line in text.splitlines() if re.match(r"\w+: ", line)]
    assert kinds == ["ValueError", "ExceptionGroup", "KeyError", "OSError"]
    assert "Doe^John" not in text.replace('int("Doe^John")', "").replace('"Doe^John", [Key', "")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_form_of_the_log_quotes_a_value(
    capsys: pytest.CaptureFixture[str], form: Literal["json", "console"]
) -> None:
    configure_logs("debug", form)
    name = "".join(("Doe^", "John"))
    try:
        raise RuntimeError(name)
    except RuntimeError:
        structlog.get_logger("app.test").exception("request failed")
        logging.getLogger("library").exception("it failed")
    text = capsys.readouterr().err
    assert text.count("RuntimeError: (not said") == 2
    assert name not in text


def test_other_libraries_are_heard_from_a_warning_on_whatever_the_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("debug", "json")
    for library in ("sqlalchemy.engine", "httpx", "asyncio", "python_multipart.multipart"):
        logging.getLogger(library).debug("SELECT 'Doe^John'")
        logging.getLogger(library).info("SELECT 'Doe^John'")
    logging.getLogger("app.index").debug("ours")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["ours"]


async def test_of_a_task_that_failed_unseen_its_errors_words_are_not_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    handler = asyncio.get_running_loop().default_exception_handler
    error = ValueError("Doe^John")
    handler({"message": "Task exception was never retrieved", "exception": error, "future": error})
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "Task exception was never retrieved"
    assert "Doe^John" not in json.dumps(line)
