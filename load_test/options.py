from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chassis.redis.settings import RedisAccess
from chassis.settings import CertificateFiles, LogFormat, LogLevel
from load_test import destination
from load_test.point import Mode
from load_test.report_format import Format
from load_test.schedule import Rate


@dataclass(frozen=True)
class Options:
    """What a load test was asked to do."""

    batch_sizes: tuple[int, ...]
    windows: tuple[int, ...]
    message_sizes: tuple[int, ...]
    modes: tuple[Mode, ...]
    duration: float
    """Seconds a run."""
    warm_up: float
    """Seconds before each run."""
    repeat: int
    """Runs a point."""
    rate: Rate | None
    """The rate schedule; as fast as possible without one."""
    targets: Mapping[str, str]
    """Of the services that were named; the others are started here."""
    tls: CertificateFiles | None
    """To encrypt with what goes to those that were named."""
    max_endpoints: int
    """Of each service."""
    client_id: str
    format: Format
    output: Path | None
    """Where the report goes in that format; standard output without one."""
    html: Path | None
    publish: RedisAccess | None
    """The Redis server that is to keep the report."""
    compare: Path | None
    """An earlier report."""
    fail_below: float | None
    """The least ratio of the earlier speed that is no failure."""
    log_level: LogLevel
    log_format: LogFormat

    @property
    def writes_table(self) -> bool:
        """Whether standard output is for the table, since nothing else goes there."""
        if destination.STANDARD_OUTPUT in {self.output, self.html}:
            return False
        return self.output is not None or self.format is Format.TABLE
