"""Keeps the programs running and stops them in order: supervisor, without its files, servers and daemon.

What it does beyond a plain supervisord: signals wake its loop at once, so that a stop in three stages loses no time
between them; a second signal to stop kills what is left; a program that refuses its settings stops everything; and
every event is one readable line.
"""

import contextlib
import os
import shlex
import signal
import time
from collections.abc import Callable, Sequence

from supervisor import events, loggers
from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ProcessConfig, ProcessGroupConfig, ServerOptions
from supervisor.poller import Poller
from supervisor.process import Subprocess
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from local_run.output import Output
from local_run.programs import Program, Stage

# A program that runs that long has started; one that ends sooner is started again after a growing pause.
START_SECONDS = 2

# Attempts, 55 s of pauses together, after which a program that does not start ends the run.
START_RETRIES = 10

# After this time a program that does not stop is killed; the services limit their own stop to 3.2 s.
STOP_LIMIT_S = 3.5

# The loop sleeps that long at most, and checks deadlines as often; supervisor's own 1 s makes stops late.
TURN_S = 0.25

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Manager(Supervisor):  # type: ignore[misc]  # supervisor ships no types
    """Runs the programs until a signal stops it. While everything runs, it calls `on_turn` several times a second."""

    on_turn: Callable[[], None] | None = None

    def __init__(self, programs: Sequence[Program], output: Output) -> None:
        super().__init__(_Options(self.say))
        self.options.process_group_configs = [
            ProcessGroupConfig(
                self.options,
                stage.name.lower(),
                int(stage),
                [_Config(self, program) for program in programs if program.stage is stage],
            )
            for stage in Stage
        ]
        self._output = output
        self._exit_code = 0
        self._reader_gone = False

    def run_until_stopped(self) -> int:
        """Return the exit code: 0, 1 if a program failed or had to be killed, 2 if one refused its settings."""
        try:
            self.run()
        except ExitNow:
            self.say("all stopped" if self._exit_code == 0 else "all stopped, not all of it cleanly")
        finally:
            self._kill_all()  # none is left, unless this process failed
        return self._exit_code

    def say(self, line: str) -> None:
        """Print a line of our own."""
        self._print(lambda: self._output.say(line))

    def stop(self) -> None:
        """Begin to stop, the last stage first."""
        self.options.mood = SupervisorStates.SHUTDOWN

    def ended(self, process: "_Process", code: int) -> None:
        """Handle the end of a process and print what happens next. A negative code is that of a signal."""
        name = process.config.name
        self._print(lambda: self._output.end(name))
        ended = f"ended with exit code {code}{process.config.where}"
        how = ended if code >= 0 else f"died of {signal.Signals(-code).name}"
        if self._stopping:
            # A program that is stopped before it handles the signal dies of it.
            if code not in (0, -signal.SIGTERM):
                self._fail(EXIT_FAILURE)
                self.say(f"{name} {how}")
        elif code == EXIT_SETTINGS:
            self._abort(EXIT_SETTINGS, f"{name} refused a setting")
        elif process.state == ProcessStates.BACKOFF:
            self.say(f"{name} {how} after {time.time() - process.laststart:.1f} s; another try in {process.backoff} s")
        elif code == 0:
            self.say(f"{name} ended by itself and stays away")
        else:
            self.say(f"{name} {how} and is started again")

    def gave_up(self, process: "_Process") -> None:
        """End the run, since a program does not start."""
        if not self._stopping:
            self._abort(EXIT_FAILURE, f"{process.config.name} did not start in {START_RETRIES + 1} attempts")

    @property
    def _stopping(self) -> bool:
        return bool(self.options.mood < SupervisorStates.RUNNING)

    def _abort(self, code: int, reason: str) -> None:
        self._fail(code)
        self.say(f"{reason}; everything stops")
        self.stop()

    def _fail(self, code: int) -> None:
        self._exit_code = self._exit_code or code

    def _print(self, write: Callable[[], None]) -> None:
        if self._reader_gone:
            return
        try:
            write()
        except OSError:
            # The terminal was closed, or the reader of a pipe went away.
            self._reader_gone = True
            self.stop()

    def runforever(self) -> None:
        """Run supervisor's loop, and print the programs' output."""
        events.subscribe(
            events.ProcessLogEvent,
            lambda event: self._print(lambda: self._output.add(event.process.config.name, event.data)),
        )
        super().runforever()

    def tick(self, now: float | None = None) -> None:  # noqa: ARG002 - supervisor's signature
        """Call `on_turn`; supervisor's own turn sends events that have no listener here."""
        if self.on_turn and not self._stopping:
            self.on_turn()

    def handle_signal(self) -> None:
        """Handle all signals since the last turn: the first one to stop stops, the next one kills."""
        while number := self.options.get_signal():
            if number not in _STOP_SIGNALS:
                continue
            if self._stopping:
                self._fail(EXIT_FAILURE)
                self._kill_all()
            else:
                self.say("stopping; once more (Ctrl-C) kills what is left")
                self.stop()

    def _kill_all(self) -> None:
        for group in self.process_groups.values():
            for process in group.processes.values():
                if process.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)


class _Process(Subprocess):  # type: ignore[misc]  # supervisor ships no types
    """A process that reports its end to the manager."""

    manager: Manager

    def finish(self, pid: int, status: int) -> None:
        super().finish(pid, status)
        self.manager.ended(self, os.waitstatus_to_exitcode(status))

    def record_spawnerr(self, msg: str) -> None:
        super().record_spawnerr(msg)
        self.manager.say(f"{self.config.name} can't be started: {msg}")

    def give_up(self) -> None:
        super().give_up()
        self.manager.gave_up(self)

    def kill(self, number: int) -> str | None:
        if number == signal.SIGKILL:
            self.manager.say(f"{self.config.name} did not stop within {STOP_LIMIT_S} s and is killed")
        failure: str | None = super().kill(number)
        return failure


class _Config(ProcessConfig):  # type: ignore[misc]  # supervisor ships no types
    """A program as supervisor describes it: started again when it dies, stopped with TERM."""

    def __init__(self, manager: Manager, program: Program) -> None:
        logs: dict[str, object] = {}
        for channel in ("stdout", "stderr"):
            logs |= {f"{channel}_{name}": 0 for name in ("logfile_backups", "logfile_maxbytes", "capture_maxbytes")}
            logs |= {f"{channel}_logfile": None, f"{channel}_events_enabled": True, f"{channel}_syslog": False}
        super().__init__(
            manager.options,
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
            stopwaitsecs=STOP_LIMIT_S,
            stopasgroup=False,
            killasgroup=True,
            redirect_stderr=True,
            uid=None,
            directory=None,
            umask=None,
            **logs,
        )
        self._manager = manager
        self.where = f" (see {program.log_file})" if program.log_file else ""

    def make_process(self, group: object = None) -> _Process:
        process = _Process(self)
        process.group = group
        process.manager = self._manager
        return process


class _Options(ServerOptions):  # type: ignore[misc]  # supervisor ships no types
    """Supervisor's options without a configuration file, and without the files that it would write."""

    nodaemon = True
    test = False
    serverurl = None
    loglevel = loggers.LevelsByName.ERRO
    # A child closes descriptors from here to this: none, as Python's are not inherited.
    minfds = 3

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.poller = _WakingPoller(self)
        self.logger = loggers.getLogger(self.loglevel)
        self.logger.addHandler(_Handler(say))

    def openhttpservers(self, supervisord: Supervisor) -> None:
        """Open none: only signals control this supervisor."""

    def write_pidfile(self) -> None:
        """Write none: it runs in the foreground."""


class _Handler(loggers.Handler):  # type: ignore[misc]  # supervisor ships no types
    """Prints supervisor's own errors."""

    level = loggers.LevelsByName.ERRO

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: loggers.LogRecord) -> None:
        self._say(record.asdict()["message"])

    def close(self) -> None:
        pass


class _WakingPoller(Poller):  # type: ignore[misc]  # supervisor ships no types
    """A poller whose sleep a signal ends; supervisor's sleeps on, since Python retries interrupted calls (PEP 475)."""

    def initialize(self) -> None:
        super().initialize()
        self._woken, waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        self.register_readable(self._woken)
        self._signalled = False

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        # After a signal the loop reaps and stops in one turn what it acts on in the next.
        readable, writable = super().poll(0 if self._signalled else min(timeout, TURN_S))
        self._signalled = self._woken in readable
        if self._signalled:
            os.read(self._woken, 4_096)
            readable.remove(self._woken)
        return readable, writable
