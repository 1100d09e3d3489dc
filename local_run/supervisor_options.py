"""Supervisor as a part of this process: no files, no servers, no log of its own, and awake when a signal comes."""

import os
import signal
from collections.abc import Callable

from supervisor import loggers
from supervisor.options import ServerOptions
from supervisor.poller import Poller
from supervisor.supervisord import Supervisor

TURN = 0.25
"""Seconds that the loop sleeps at most: deadlines are checked as often. Supervisor's own 1 s makes stops late."""


class _WakingPoller(Poller):  # type: ignore[misc]  # supervisor ships no types
    """A signal ends its sleep; supervisor's sleeps on, since Python takes up interrupted calls again (PEP 475)."""

    def initialize(self) -> None:
        super().initialize()
        self._woken, waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        self.register_readable(self._woken)
        self._go_on = False

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        # After a signal the loop reaps and stops in one turn what it acts on in the next.
        readable, writable = super().poll(0 if self._go_on else min(timeout, TURN))
        self._go_on = self._woken in readable
        if self._go_on:
            os.read(self._woken, 4_096)
            readable.remove(self._woken)
        return readable, writable


class _SayingHandler(loggers.Handler):  # type: ignore[misc]  # supervisor ships no types
    """Passes on what supervisor itself has to complain of."""

    level = loggers.LevelsByName.ERRO

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: loggers.LogRecord) -> None:
        self._say(record.asdict()["message"])

    def close(self) -> None:
        pass


class SupervisorOptions(ServerOptions):  # type: ignore[misc]  # supervisor ships no types
    """Supervisor's options without a configuration file, and without what it would leave on the disk."""

    nodaemon = True
    test = False
    serverurl = None
    loglevel = loggers.LevelsByName.ERRO
    minfds = 3
    """Descriptors from here on are closed in a child, up to this: none, as Python's are not inherited."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.poller = _WakingPoller(self)
        self.logger = loggers.getLogger(self.loglevel)
        self.logger.addHandler(_SayingHandler(say))

    def openhttpservers(self, supervisord: Supervisor) -> None:
        """None: there is nobody to control it but a signal."""

    def write_pidfile(self) -> None:
        """None: it runs in the foreground."""
