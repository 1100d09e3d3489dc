"""One program under supervisor: how it is started, stopped and started again, and who is told."""

import os
import shlex
import signal
from typing import Protocol

from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.options import ProcessConfig
from supervisor.process import Subprocess

from chassis.process import EXIT_SETTINGS
from local_run.program import Program
from local_run.supervisor_options import SupervisorOptions

START_SECONDS = 2
"""Seconds after which a program counts as started; one that ends sooner is started again after a growing pause."""

START_RETRIES = 10
"""Attempts, 55 s of pauses together, after which a program that does not start ends the run."""

STOP_SECONDS = 3.5
"""Seconds after which a program that was told to stop is killed; the services give themselves 3.2."""


class Listener(Protocol):
    """Who is told what becomes of a process."""

    options: SupervisorOptions

    def say(self, line: str) -> None:
        """Something that people need to know."""

    def ended(self, process: "SupervisedProcess", code: int) -> None:
        """It ended, with this exit code or, negative, of this signal."""

    def gave_up(self, process: "SupervisedProcess") -> None:
        """It did not start, however often that was tried."""


class SupervisedProcess(Subprocess):  # type: ignore[misc]  # supervisor ships no types
    """A process that tells its listener how it ended."""

    listener: Listener

    def finish(self, pid: int, status: int) -> None:
        """It has ended."""
        super().finish(pid, status)
        self.listener.ended(self, os.waitstatus_to_exitcode(status))

    def record_spawnerr(self, msg: str) -> None:
        """It could not be started."""
        super().record_spawnerr(msg)
        self.listener.say(f"{self.config.name} can't be started: {msg}")

    def give_up(self) -> None:
        """It is not tried again."""
        super().give_up()
        self.listener.gave_up(self)

    def kill(self, number: int) -> str | None:
        """Send a signal: TERM, or KILL when it did not stop in time; what went wrong, if anything did."""
        if number == signal.SIGKILL:
            self.listener.say(f"{self.config.name} did not stop within {STOP_SECONDS} s and is killed")
        failure: str | None = super().kill(number)
        return failure


class SupervisedConfig(ProcessConfig):  # type: ignore[misc]  # supervisor ships no types
    """How supervisor is to treat a program: started again when it dies, told to stop with TERM."""

    def __init__(self, listener: Listener, program: Program) -> None:
        super().__init__(
            listener.options,
            name=program.name,
            command=shlex.join(program.command),
            environment=dict(program.environment),
            priority=int(program.stage),
            autostart=True,
            autorestart=RestartWhenExitUnexpected,
            exitcodes=[0, EXIT_SETTINGS],
            startsecs=START_SECONDS,
            startretries=START_RETRIES,
            stopsignal=signal.SIGTERM,
            stopwaitsecs=STOP_SECONDS,
            stopasgroup=False,
            killasgroup=True,
            redirect_stderr=True,
            uid=None,
            directory=None,
            umask=None,
            **{
                f"{channel}_{name}": value
                for channel in ("stdout", "stderr")
                for name, value in {
                    "logfile": None,
                    "logfile_backups": 0,
                    "logfile_maxbytes": 0,
                    "capture_maxbytes": 0,
                    "events_enabled": True,
                    "syslog": False,
                }.items()
            },
        )
        self._listener = listener
        self.where = f" (see {program.log_file})" if program.log_file else ""

    def make_process(self, group: object = None) -> SupervisedProcess:
        """The process that it is to be."""
        process = SupervisedProcess(self)
        process.group = group
        process.listener = self._listener
        return process
