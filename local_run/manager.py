"""Keeps the programs running, and starts and stops them in order.

A program that ends unexpectedly is started again: at once if it had started, otherwise after a growing pause. Each runs
in a process group of its own, so that Ctrl-C reaches this process only, which then stops one stage after the other. A
second signal kills what is left.
"""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterable
from enum import StrEnum

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from local_run import guardian
from local_run.output import Output
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

_READ_BYTES = 64 * 1024

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CLEAN = {0, *(128 + number for number in _STOP_SIGNALS)}


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
        self.say = output.say
        self.output = output
        self.stopping = asyncio.Event()
        self._exit_code = 0
        self._signalled_at = 0.0
        self._crash: BaseException | None = None
        has_signal = guardian.HAS_PARENT_DEATH_SIGNAL
        self.prepare = guardian.parent_death_signal() if has_signal else None
        self.guardian = None if has_signal else guardian.Guardian()

    async def run(self, programs: Iterable[Program]) -> int:
        """Run until a signal or a failure stops everything, and return the exit code.

        The code is 128 + the signal's number after a clean stop, as shells have it, 1 if a program failed or had to be
        killed, 2 if one refused its settings, and 0 if the output's reader went away.
        """
        loop = asyncio.get_running_loop()
        self.output.watch(self.stopping.set)
        for number in _STOP_SIGNALS:
            # What nohup has set stays.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        try:
            for program in programs:
                self.start(program)
            await self.stopping.wait()
            # What is frozen would hold up those that stop before it: workers send their last report to Redis.
            for process in self.processes.values():
                process.send(signal.SIGCONT)
            for stage in reversed(Stage):
                await asyncio.gather(*(each.stop() for each in self._at(stage)))
            if self._crash:
                raise self._crash
            self.say("all stopped" if self._exit_code in _CLEAN else "all stopped, not all of it cleanly")
            return self._exit_code
        finally:
            self.output.close()
            self._kill_all()  # none is left, unless this process failed
            if self.guardian:
                self.guardian.close()

    def start(self, program: Program) -> "Process":
        """Start a program and keep it running."""
        process = self.processes[program.name] = Process(program, self)
        return process

    async def stop(self, name: str) -> None:
        """Stop a program for good."""
        await self.processes[name].stop()
        del self.processes[name]

    def abort(self, code: int, reason: str) -> None:
        """Begin to stop everything because of a failure, unless that has begun."""
        if not self.stopping.is_set():
            self.fail(code)
            self.say(f"{reason}; everything stops")
            self.stopping.set()

    def crash(self, error: BaseException) -> None:
        """Begin to stop everything because of an unforeseen error of ours, which run() raises then."""
        self._crash = self._crash or error
        self.stopping.set()

    def fail(self, code: int) -> None:
        """Have the run end with this exit code; the first failure counts, and any counts more than a signal."""
        if self._exit_code in _CLEAN:
            self._exit_code = code

    def _at(self, stage: Stage) -> list["Process"]:
        return [each for each in self.processes.values() if each.program.stage is stage]

    def _on_signal(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self.stopping.is_set():
            if now - self._signalled_at > REPEATED_SIGNAL_S:
                self._kill_all()
        else:
            self._exit_code, self._signalled_at = 128 + number, now
            self.say("stopping; once more (Ctrl-C) kills what is left")
            self.stopping.set()

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
        self._replaced = False
        self._task = self._create_task(self._keep_running())

    @property
    def pid(self) -> int | None:
        """The process's id while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL also to what the process has started."""
        if self.pid is None:
            return
        if number == signal.SIGKILL:
            guardian.kill_group(self.pid)
        else:
            self._process.send_signal(number)  # type: ignore[union-attr] # there is a pid
        if number in {signal.SIGSTOP, signal.SIGCONT}:
            self.state = State.PAUSED if number == signal.SIGSTOP else State.RUNNING

    async def stop(self) -> None:
        """Stop the process, or kill it when it does not stop in time."""
        self._stop_requested.set()
        self._terminate()
        done, _ = await asyncio.wait({self._task}, timeout=STOP_LIMIT_S)
        if not done:
            self._manager.say(f"{self.program.name} did not stop within {STOP_LIMIT_S} s and is killed")
            self.send(signal.SIGKILL)
            await asyncio.wait({self._task})

    def replace(self, program: Program) -> None:
        """Stop the process and start this program in its place."""
        self.program = program
        self._replaced = True
        self._terminate()
        asyncio.get_running_loop().call_later(STOP_LIMIT_S, self._kill, self.pid)

    def _terminate(self) -> None:
        # A process that is frozen does not handle the signal.
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self.state = State.STOPPING

    def _kill(self, pid: int | None) -> None:
        if pid is not None and pid == self.pid:
            self.send(signal.SIGKILL)

    def _create_task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._check)
        return task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._manager.crash(error)

    async def _keep_running(self) -> None:
        failures = 0
        while not self._stop_requested.is_set():
            self.state = State.RUNNING
            began = time.monotonic()
            ended = await self._run_once()
            seconds = time.monotonic() - began
            failures = 0 if seconds >= START_SECONDS or self._replaced else failures + 1
            pause_s = self._next_start(ended, seconds, failures)
            if pause_s is None:
                break
            self.state = State.RESTARTING
            self.restarts += 1
            try:
                async with asyncio.timeout(pause_s):
                    await self._stop_requested.wait()
            except TimeoutError:
                continue
        self.state = State.ENDED

    async def _run_once(self) -> int | None:
        """Return the exit code, that of a signal being negative; None if the program can't be started."""
        name, manager = self.program.name, self._manager
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                env={**os.environ, **self.program.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                process_group=0,
                pass_fds=self.program.descriptors,
                preexec_fn=manager.prepare,
            )
        except OSError as error:
            manager.say(f"{name} can't be started: {error}")
            return None
        if manager.guardian:
            manager.guardian.add(process.pid)
        if self._stop_requested.is_set():
            self._terminate()
        reading = self._create_task(self._read(process))
        code = await process.wait()
        await asyncio.wait({reading}, timeout=LAST_OUTPUT_LIMIT_S)
        reading.cancel()
        if manager.guardian:
            manager.guardian.remove(process.pid)
        manager.output.end(name)
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout and (data := await process.stdout.read(_READ_BYTES)):
            self._manager.output.add(self.program.name, data)

    def _next_start(self, code: int | None, seconds: float, failures: int) -> float | None:
        """Return the seconds until the next start, None for no other, and print what happens."""
        name, manager = self.program.name, self._manager
        where = f" (see {self.program.log_file})" if self.program.log_file else ""
        how = f"ended with exit code {code}{where}"
        if code is not None and code < 0:
            how = f"died of {signal.Signals(-code).name}"
        if manager.stopping.is_set() or self._stop_requested.is_set():
            # A program that is stopped before it handles the signal dies of it.
            if code not in {0, None, -signal.SIGTERM}:
                manager.fail(EXIT_FAILURE)
                manager.say(f"{name} {how}")
            return None
        if self._replaced:
            self._replaced = False
            return 0
        if code is not None and code > 0:
            manager.output.explain(name)
        if code == EXIT_SETTINGS:
            manager.abort(EXIT_SETTINGS, f"{name} refused a setting")
            return None
        if code == 0:
            manager.say(f"{name} ended by itself and stays away")
            return None
        if failures > START_RETRIES:
            manager.abort(EXIT_FAILURE, f"{name} did not start in {START_RETRIES + 1} attempts")
            return None
        if failures:
            manager.say(f"{name} {how} after {seconds:.1f} s; another try in {failures} s")
        else:
            manager.say(f"{name} {how} and is started again")
        return failures
