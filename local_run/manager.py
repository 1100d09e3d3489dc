"""Keeps the programs running and stops them in order: supervisor, without its files, servers and daemon.

What it does beyond a plain supervisord: signals wake its loop at once, so that a stop in three stages loses no time
between them; a second signal to stop kills what is left; a program that refuses its settings stops everything; and
people read one line about what happened.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from supervisor import events
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ProcessGroupConfig
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from local_run.output import Output
from local_run.program import Program, Stage
from local_run.supervised_process import START_RETRIES, SupervisedConfig, SupervisedProcess
from local_run.supervisor_options import SupervisorOptions

_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Manager(Supervisor):  # type: ignore[misc]  # supervisor ships no types
    """Runs the programs until it is told to stop."""

    on_turn: Callable[[], None] | None = None
    """Called several times a second as long as everything runs."""

    def __init__(self, programs: Sequence[Program], output: Output) -> None:
        super().__init__(SupervisorOptions(self.say))
        self.options.process_group_configs = [
            ProcessGroupConfig(
                self.options,
                stage.name.lower(),
                int(stage),
                [SupervisedConfig(self, program) for program in programs if program.stage is stage],
            )
            for stage in Stage
        ]
        self._output = output
        self._exit_code = 0
        self._unread = False

    def run_until_stopped(self) -> int:
        """The exit code: 0, 1 when a program failed or had to be killed, 2 when one refused its settings."""
        try:
            self.run()
        except ExitNow:
            self.say("all stopped" if self._exit_code == 0 else "all stopped, not all of it cleanly")
        finally:
            self._kill_all()  # there is nobody left, unless we failed ourselves
        return self._exit_code

    def say(self, line: str) -> None:
        """Write a line of our own."""
        self._reading(lambda: self._output.say(line))

    def stop(self) -> None:
        """Begin to stop, the last stage first."""
        self.options.mood = SupervisorStates.SHUTDOWN

    def ended(self, process: SupervisedProcess, code: int) -> None:
        """Say what happens next, if that is of interest. A negative code is that of a signal."""
        name = process.config.name
        self._reading(lambda: self._output.end(name))
        how = (
            f"died of {signal.Signals(-code).name}"
            if code < 0
            else f"ended with exit code {code}{process.config.where}"
        )
        if self._stopping:
            # A program that was told to stop before it could hear that ends of the signal itself.
            if code not in (0, -signal.SIGTERM):
                self._fail(EXIT_FAILURE)
                self.say(f"{name} {how}")
        elif code == EXIT_SETTINGS:
            self._fail(EXIT_SETTINGS)
            self.say(f"{name} refused a setting; everything stops")
            self.stop()
        elif process.state == ProcessStates.BACKOFF:
            self.say(f"{name} {how} after {time.time() - process.laststart:.1f} s; another try in {process.backoff} s")
        elif code == 0:
            self.say(f"{name} ended by itself and stays away")
        else:
            self.say(f"{name} {how} and is started again")

    def gave_up(self, process: SupervisedProcess) -> None:
        """End the run, for a program does not start."""
        if self._stopping:
            return
        self._fail(EXIT_FAILURE)
        self.say(f"{process.config.name} did not start in {START_RETRIES + 1} attempts; everything stops")
        self.stop()

    @property
    def _stopping(self) -> bool:
        return bool(self.options.mood < SupervisorStates.RUNNING)

    def _fail(self, code: int) -> None:
        self._exit_code = self._exit_code or code

    def _reading(self, write: Callable[[], None]) -> None:
        if self._unread:
            return
        try:
            write()
        except OSError:
            # The terminal was closed or the reader of a pipe went away.
            self._unread = True
            self.stop()

    def runforever(self) -> None:
        """Supervisor's loop, with the programs' output going where it is read."""
        events.subscribe(
            events.ProcessLogEvent,
            lambda event: self._reading(lambda: self._output.add(event.process.config.name, event.data)),
        )
        super().runforever()

    def tick(self, now: float | None = None) -> None:  # noqa: ARG002 - supervisor's signature
        """A turn of the loop; instead of supervisor's events every so many seconds."""
        if self.on_turn and not self._stopping:
            self.on_turn()

    def handle_signal(self) -> None:
        """All signals since the last turn: the first that says so stops, the next one kills."""
        while number := self.options.get_signal():
            if number not in _TO_STOP:
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
