"""Structured logs, on standard error: one JSON object a line, or coloured text for a person.

No patient data, no secret: query strings are never logged, they carry names; of a path only what
`app.web.said` lets through; a message holds UIDs at most. A traceback says where and of what kind,
and what it is about only in our own words: what another library says may quote a value.
Libraries that log through `logging` come out in the same form, warnings and worse alone: below that
they tell of statements with their values, of requests and of bodies.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.typing import ExcInfo, Processor

from app.errors import ArchiveError

ACCESS = "fileroom.access"
OURS = ("app", "fileroom")
"""The loggers whose level is the one that is set."""
_SAYS_NAMES_OF_CODE = (AttributeError, ImportError, NameError, AssertionError, NotImplementedError)
"""Faults whose messages name what stands in a program, never what it was given."""
_LONGEST_CHAIN = 20

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
)


def configure_logs(
    level: str = "info",
    form: Literal["auto", "console", "json"] = "auto",
    *,
    access: bool = False,
) -> None:
    """Set up logging for this process; `auto` is for a person if standard error is a terminal.

    With `access` each request is a line: method, path, status and time.
    """
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    last: tuple[Processor, ...] = (
        (
            structlog.processors.ExceptionRenderer(discreet_traceback),
            structlog.processors.JSONRenderer(),
        )
        if json
        else (structlog.dev.ConsoleRenderer(exception_formatter=_print_traceback),)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(logging.WARNING, wanted))
    for name in OURS:
        logging.getLogger(name).setLevel(wanted)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    logging.getLogger("asyncio").addFilter(_without_tasks)
    logging.getLogger(ACCESS).setLevel(logging.INFO if access else logging.WARNING)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(wanted),
        cache_logger_on_first_use=True,
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what was logged already, where the answer was broken off."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "BrokenOff"


def _without_tasks(record: logging.LogRecord) -> bool:
    """Keep the first line: the others show tasks, and errors in them with what these say."""
    record.msg, record.args = str(record.msg).partition("\n")[0], ()
    return True


def discreet_traceback(exc_info: ExcInfo) -> str:
    """Return a traceback with its causes, the first one first, without what others may quote."""
    return "\n".join(reversed([*_links(exc_info[1])])).rstrip()


def _print_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write(f"\n{discreet_traceback(exc_info)}\n")


def _links(error: BaseException | None) -> Iterator[str]:
    """Yield an error, and what it came of, as Python would show them."""
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return
        yield _told(error, error.__traceback__)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _told(error: BaseException, where: TracebackType | None) -> str:
    lines = ["Traceback (most recent call last):\n", *traceback.format_tb(where)]
    lines.append(f"{type(error).__module__}.{type(error).__qualname__}: {_message(error)}\n")
    if isinstance(error, BaseExceptionGroup):
        lines += (line for one in error.exceptions for line in _links(one))
    return "".join(lines).replace("\nbuiltins.", "\n")


def _message(error: BaseException) -> str:
    if isinstance(error, (ArchiveError, *_SAYS_NAMES_OF_CODE)):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or "(not said)"
    return "(not said: it may quote a value)"
