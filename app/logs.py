"""Structured logs, on standard error: one JSON object a line, or coloured text for a person.

No patient data: query strings are never logged, they carry names; a message holds UIDs at most.
Libraries that log through `logging` come out in the same form.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

ACCESS = "fileroom.access"

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
        (structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
        if json
        else (structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "asyncio", "alembic", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    logging.getLogger(ACCESS).setLevel(logging.INFO if access else logging.WARNING)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what was logged already, where the answer was broken off."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "BrokenOff"
