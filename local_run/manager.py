"""Keeps the programs running, and starts and stops them in order.

A program that ends unexpectedly is started again: at once if it had started, otherwise after a growing pause. Each runs
in a process group of its own, so that Ctrl-C reaches this process only, which then stops one stage after the other. A
second signal kills what is left, and so does the guardian when this process was killed.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Coroutine, Iterable
from enum import StrEnum
from typing import Any

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.timing import sleep_unless
from local_run.output import MAX_LINE_BYTES, Output
from local_run.programs import Program, Stage

# A program that runs that long has started; one that ends sooner is started again after a growing pause.
START_SECONDS = 2.0

# Attempts, 55 s of pauses together, after which a program that does not start ends the run.
START_RETRIES = 10

# After this time a program that does not stop is killed; the services limit their own stop to 3.2 s.
STOP_LIMIT_S = 3.5

# How long the last output of a program that has ended is waited for: a process that it left may hold the pipe open.
LAST_OUTPUT_LIMIT_S = 0.2

# A program such as `timeout` passes a signal on that the whole group has got: within this time, two are one.
REPEATED_SIGNAL_S = 0.5

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# A shell that kills the process groups in the last line of its input when that ends, however this process has ended.
_GUARDIAN = 'while read -r line; do groups=$line; done; [ -z "$groups" ] || kill -s KILL -- $groups'


class State(StrEnum):
    """What a process does."""

    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    ENDED = "ended"


class Manager:
    """Runs programs until a signal stops them."""

    def __init__(self, output: Output) -> None:
        self.processes: dict[str, Process] = {}
        self.output = output
        self.stopping = asyncio.Event()
        # An error in any of these tasks ends the run.
        self.tasks = asyncio.TaskGroup()
        self._exit_code = 0
        self._signalled_at = 0.0
        self._guardian = subprocess.Popen(  # noqa: S603 - ours
            ("/bin/sh", "-c", _GUARDIAN), bufsize=0, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
        )

    async def run(self, programs: Iterable[Program], *beside: Coroutine[Any, Any, None]) -> int:
        """Run until a signal or a failure stops everything, and return the exit code; run what is `beside` until then.

        The code is 0 after a clean stop, 1 if a program failed or had to be killed, and 2 if one refused its settings.
        """
        loop = asyncio.get_running_loop()
        # What nohup has set stays.
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self.output.watch(self.stopping.set, hangs_up=hangs_up)
        for number in _STOP_SIGNALS:
            if number != signal.SIGHUP or hangs_up:
                loop.add_signal_handler(number, self._on_signal)
        try:
            async with self.tasks:
                for program in programs:
                    self.start(program)
                tasks = [self.tasks.create_task(each) for each in beside]
                await self.stopping.wait()
                for task in tasks:
                    task.cancel()
                self.output.show([])
                # What is frozen would hold up those that stop before it: workers send their last report to Redis.
                for process in self.processes.values():
                    process.send(signal.SIGCONT)
                for stage in reversed(Stage):
                    stopped = [each for each in self.processes.values() if each.program.stage is stage]
                    await asyncio.gather(*(each.stop() for each in stopped))
            self.output.say("all stopped, not all of it cleanly" if self._exit_code else "all stopped")
            return self._exit_code
        finally:
            self.output.close()
            self._kill_all()  # none is left, unless this process failed
            self._guardian.communicate()

    def start(self, program: Program) -> None:
        """Start a program and keep it running, unless everything stops."""
        if not self.stopping.is_set():
            self.processes[program.name] = Process(program, self)

    async def stop(self, name: str) -> None:
        """Stop a program for good."""
        await self.processes[name].stop()
        del self.processes[name]

    def abort(self, code: int, reason: str) -> None:
        """Begin to stop everything because of a failure, unless that has begun."""
        if not self.stopping.is_set():
            self.fail(code)
            self.output.say(f"{reason}; everything stops")
            self.stopping.set()

    def fail(self, code: int) -> None:
        """Have the run end with this exit code; the first failure counts."""
        self._exit_code = self._exit_code or code

    def guard(self) -> None:
        """Send the guardian the process groups that run now."""
        groups = " ".join(f"-{each.pid}" for each in self.processes.values() if each.pid is not None)
        with contextlib.suppress(OSError):  # without a guardian everything else still works
            self._guardian.stdin.write(f"{groups}\n".encode())  # type: ignore[union-attr] # it is a pipe

    def _on_signal(self) -> None:
        now = time.monotonic()
        if not self.stopping.is_set():
            self._signalled_at = now
            self.output.say("stopping; once more (Ctrl-C) kills what is left")
            self.stopping.set()
        elif now - self._signalled_at > REPEATED_SIGNAL_S:
            self._kill_all()

    def _kill_all(self) -> None:
        for process in self.processes.values():
            process.send(signal.SIGKILL)


class Process:
    """A program that is kept running until it is stopped, or ends by itself with exit code 0."""

    def __init__(self, program: Program, manager: Manager) -> None:
        self.program = program
        self.state = State.RUNNING
        self.restarts = 0
        self._manager = manager
        self._process: asyncio.subprocess.Process | None = None
        self._stop_requested = asyncio.Event()
        self._task = manager.tasks.create_task(self._keep_running())

    @property
    def pid(self) -> int | None:
        """The process's id while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL also to what the process has started."""
        if self.pid is None:
            return
        # macOS refuses for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if number == signal.SIGKILL else os.kill)(self.pid, number)
        if number in {signal.SIGSTOP, signal.SIGCONT}:
            self.state = State.PAUSED if number == signal.SIGSTOP else State.RUNNING

    async def stop(self) -> None:
        """Stop the process, or kill it when it does not stop in time."""
        self._stop_requested.set()
        self._terminate()
        done, _ = await asyncio.wait({self._task}, timeout=STOP_LIMIT_S)
        if not done:
            self._manager.output.say(f"{self.program.name} did not stop within {STOP_LIMIT_S} s and is killed")
            self.send(signal.SIGKILL)
            await asyncio.wait({self._task})

    def _terminate(self) -> None:
        # A process that is frozen does not handle the signal.
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self.state = State.STOPPING

    async def _keep_running(self) -> None:
        failures = 0
        while not self._stop_requested.is_set():
            self.state = State.RUNNING
            began = time.monotonic()
            ended = await self._run_once()
            seconds = time.monotonic() - began
            failures = 0 if seconds >= START_SECONDS else failures + 1
            if not self._starts_again(ended, seconds, failures):
                break
            self.state = State.RESTARTING
            self.restarts += 1
            await sleep_unless(self._stop_requested, failures)
        self.state = State.ENDED

    async def _run_once(self) -> int | None:
        """Return the exit code, that of a signal being negative; None if the program can't be started."""
        manager = self._manager
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                env={**os.environ, **self.program.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=MAX_LINE_BYTES,
                process_group=0,
                pass_fds=self.program.descriptors,
            )
        except OSError as error:
            manager.output.say(f"{self.program.name} can't be started: {error}")
            return None
        manager.guard()
        if self._stop_requested.is_set():
            self._terminate()
        reading = manager.tasks.create_task(self._read(process))
        code = await process.wait()
        manager.guard()
        await asyncio.wait({reading}, timeout=LAST_OUTPUT_LIMIT_S)
        reading.cancel()
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        stream = process.stdout
        while stream:
            try:
                line = await stream.readuntil()
            except asyncio.LimitOverrunError as error:
                line = await stream.readexactly(error.consumed)
            except asyncio.IncompleteReadError as error:
                line, stream = error.partial, None
            self._manager.output.add(self.program.name, line)

    def _starts_again(self, code: int | None, seconds: float, failures: int) -> bool:
        """Return whether a process that ended is started again, and print what happens."""
        name, manager = self.program.name, self._manager
        where = f" (see {self.program.log_file})" if self.program.log_file else ""
        how = f"ended with exit code {code}{where}"
        if code is not None and code < 0:
            how = f"died of {signal.Signals(-code).name}"
        if manager.stopping.is_set() or self._stop_requested.is_set():
            # A program that is stopped before it handles the signal dies of it.
            if code not in {0, None, -signal.SIGTERM}:
                manager.fail(EXIT_FAILURE)
                manager.output.say(f"{name} {how}")
            return False
        if code is not None and code > 0:
            manager.output.explain(name)
        if code == EXIT_SETTINGS:
            manager.abort(EXIT_SETTINGS, f"{name} refused a setting")
        elif code == 0:
            manager.output.say(f"{name} ended by itself and stays away")
        elif failures > START_RETRIES:
            manager.abort(EXIT_FAILURE, f"{name} did not start in {START_RETRIES + 1} attempts")
        else:
            again = f"after {seconds:.1f} s; another try in {failures} s" if failures else "and is started again"
            manager.output.say(f"{name} {how} {again}")
            return True
        return False
