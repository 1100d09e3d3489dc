"""Structured log lines: one event each, for people or for machines, on standard output."""

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from chassis.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor


def configure(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None, **fields: str) -> None:
    """Send every later event to standard output, or another stream, with these fields in each JSON line.

    Lines for people leave the fields out: a terminal, compose and `make run` already say whose line it is. Colours are
    used on a terminal and where FORCE_COLOR is set (https://force-color.org), never where NO_COLOR is.
    """
    stream = sys.stdout if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_common(log_format, fields), _renderer(log_format, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard module; only their troubles are of interest.
    foreign = logging.StreamHandler(stream)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_common(log_format, fields)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(log_format, stream)],
        )
    )
    foreign.addFilter(_is_our_trouble)
    logging.basicConfig(handlers=[foreign], level=max(threshold, logging.WARNING), force=True)


def get(**fields: str) -> "FilteringBoundLogger":
    """A logger whose events carry these fields."""
    logger: FilteringBoundLogger = structlog.get_logger().bind(**fields)
    return logger


def _is_our_trouble(record: logging.LogRecord) -> bool:
    """Whether it is none of who sent what is no HTTP: aiohttp says each in many lines, with what was sent."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _common(log_format: LogFormat, fields: dict[str, str]) -> "list[Processor]":
    def add_fields(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, **fields}

    if log_format is LogFormat.CONSOLE:
        return [
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _in_one_line,
        ]
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_fields,
        structlog.processors.format_exc_info,
    ]


def _in_one_line(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What asyncio says of a failure has several; JSON has them in one as it is."""
    return {**event, "event": " ".join(str(event["event"]).splitlines())}


def _renderer(log_format: LogFormat, stream: TextIO) -> "Processor":
    if log_format is LogFormat.JSON:
        return structlog.processors.JSONRenderer(default=str)
    colours = (stream.isatty() or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(
        colors=colours,
        sort_keys=False,
        pad_event_to=0,
        pad_level=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
