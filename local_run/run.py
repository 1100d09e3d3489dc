"""One run of the whole system: its start, its live status, and what the commands change while it runs."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from chassis.log import STANDARD_OUTPUT, LogOutput
from chassis.settings import Pace, Settings, SettingsError, refusal
from hasher_svc.settings import HasherSettings
from local_run import control, embedded_redis
from local_run.control import CommandError
from local_run.manager import Manager, Process, State
from local_run.output import Output, wants_colours
from local_run.page import Page
from local_run.programs import DISCOVERED, Plan, PortError, page_host
from local_run.settings import LocalRunSettings
from local_run.status import status_lines
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings

# After this time the address is printed although the page is not ready.
PAGE_LIMIT_S = 3.0

STATUS_INTERVAL_S = 1.0

# How long the page's stream of events is left alone after it ended.
_RETRY_S = 0.5

_SNAPSHOT_LIMIT_S = 2.0

# The services that can be scaled, with the setting that has the bounds.
SCALABLE = {"rng": "rngs", "hasher": "hashers", "worker": "workers"}

_FAULTY: Mapping[str, type[Settings]] = {"rng": RngSettings, "hasher": HasherSettings}


def run(settings: LocalRunSettings, given: frozenset[str], *, log: bool) -> int:
    """Run everything until a signal stops it, and return the exit code; `log` shows the log on a terminal, too.

    Raises SettingsError, DataFolderError, PortError and NotRunningError.
    """
    with contextlib.ExitStack() as stack:
        lock = None
        if settings.embeds_redis:
            lock = stack.enter_context(embedded_redis.data_folder(settings.data_dir))
            embedded_redis.renew_password(settings.data_dir)
        folder = stack.enter_context(control.run_folder())
        # Of two runs that start at once, the second waits until the first one listens on the ports that it has found.
        starting = stack.enter_context((folder.parent / "starting").open("w"))
        fcntl.flock(starting, fcntl.LOCK_EX)
        return asyncio.run(_Run(settings, Plan(settings, given, folder, lock), folder, starting, log=log).run())


class _Run:
    def __init__(self, settings: LocalRunSettings, plan: Plan, folder: Path, starting: TextIO, *, log: bool) -> None:
        self._settings = settings
        self._plan = plan
        self._folder = folder
        self._starting = starting
        self._programs = plan.initial_programs()
        webui = WebuiSettings.load()
        self._page = Page(page_host(), plan.page_port, next(iter(sorted(webui.hosts)), ""), webui.token)
        terminal = os.isatty(STANDARD_OUTPUT) and os.environ.get("TERM") != "dumb"
        self._live = terminal and not log
        self._data = str(Path(settings.data_dir).absolute())
        self._board: dict[str, Any] | None = None
        colours = wants_colours(STANDARD_OUTPUT)
        # A service writes to a pipe: it can't see for itself that colours are welcome, nor that each line is awaited.
        os.environ["PYTHONUNBUFFERED"] = "1"
        if colours:
            os.environ["FORCE_COLOR"] = "1"
        names = [program.name for program in self._programs]
        self._output = Output(LogOutput(STANDARD_OUTPUT), names, colours=colours, hides_log=self._live)
        self._manager = Manager(self._output)

    async def run(self) -> int:
        """Run until everything has stopped, and return the exit code."""
        self._plan.publish(self._programs)
        for note in self._plan.notes:
            self._output.say(note)
        async with control.serve(self._folder, self._handle):
            tasks = [asyncio.create_task(self._announce())]
            if self._live:
                tasks += [asyncio.create_task(self._follow()), asyncio.create_task(self._show())]
            tasks.append(asyncio.create_task(self._cancel_when_stopping(*tasks)))
            return await self._manager.run(self._programs)

    # What is shown.

    async def _announce(self) -> None:
        try:
            async with asyncio.timeout(PAGE_LIMIT_S):
                await self._page.wait_until_ready()
            self._starting.close()
        except TimeoutError:
            self._starting.close()
            awaited = "" if self._settings.embeds_redis else " (is Redis there?)"
            self._output.say(f"the page will be at {self._page.url}, and is not ready yet{awaited}")
            await self._page.wait_until_ready()
        settings = self._settings
        counts = {"rng": settings.rngs, "hasher": settings.hashers, "worker": settings.workers}
        what = ", ".join(f"{count} {name}" if count == 1 else f"{count} {name}s" for name, count in counts.items())
        command = _command()
        classic = settings.pace is Pace.CLASSIC
        lines = [
            f"the page is at {self._page.url} (Ctrl-C stops everything)",
            f"{what}, webui and Redis run at the {settings.pace} pace; the counts are kept in {settings.data_dir}/"
            if settings.embeds_redis
            else f"{what} and webui run at the {settings.pace} pace, with the Redis of REDIS_URL",
            "try in another terminal:",
            f"  {command} scale worker=10   # {'faster, not ten times' if classic else 'uses free CPU, if any'}",
            f"  {command} scale rng=3       # watch their shares",
            f"  {command} kill rng-1        # it comes back, none is lost",
        ]
        for line in lines:
            self._output.say(line)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                async for state in self._page.states():
                    self._board = state
            self._board = None
            await asyncio.sleep(_RETRY_S)

    async def _show(self) -> None:
        while True:
            self._output.show(self._status(*shutil.get_terminal_size()))
            await asyncio.sleep(STATUS_INTERVAL_S)

    def _status(self, columns: int = 1_000, rows: int = 1_000) -> list[str]:
        return status_lines(self._page.url, self._board, self._manager.processes.values(), rows, columns)

    async def _cancel_when_stopping(self, *tasks: asyncio.Task[None]) -> None:
        await self._manager.stopping.wait()
        for task in tasks:
            task.cancel()
        self._output.show([])

    # What the commands do.

    async def _handle(self, request: control.Request) -> Any:
        if self._manager.stopping.is_set():
            raise CommandError("it is stopping")
        match request:
            case {"command": "describe"}:
                processes = self._manager.processes
                servers = {name: each.program.target for name, each in processes.items() if name.startswith(DISCOVERED)}
                return {"port": self._plan.page_port, "data": self._data, "names": list(processes), "servers": servers}
            case {"command": "status"}:
                return await self._describe_status()
            case {"command": "scale", "counts": [*counts]}:
                return await self._scale(counts)
            case {"command": "slow", "name": str(name), "seconds": str(seconds)}:
                return self._slow(name, seconds)
            case {"command": "kill" | "pause" | "resume" as command, "name": str(name)}:
                return getattr(self, f"_{command}")(self._named(name))
            case _:
                raise CommandError("it has another version, which does not know this command")

    async def _describe_status(self) -> list[str]:
        if not self._live:
            self._board = None
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                async with asyncio.timeout(_SNAPSHOT_LIMIT_S):
                    self._board = await anext(self._page.states())
        return self._status()

    async def _scale(self, counts: list[Any]) -> list[str]:
        wanted: dict[str, int] = {}
        for each in map(str, counts):
            service, _, count = each.partition("=")
            if service not in SCALABLE:
                raise CommandError(f"{each} is not allowed: it must be rng=N, hasher=N or worker=N")
            most = int(LocalRunSettings.fields[SCALABLE[service]].bounds[1])
            if not (count.isascii() and count.isdecimal()) or int(count) > most:
                raise CommandError(str(refusal(service, count, f"a whole number from 0 to {most} (processes)")))
            wanted[service] = int(count)
        return [await self._scale_service(service, count) for service, count in wanted.items()]

    async def _scale_service(self, service: str, count: int) -> str:
        processes = self._manager.processes
        running = {name: int(name.rpartition("-")[2]) for name in processes if name.startswith(f"{service}-")}
        wanted = {f"{service}-{index + 1}" for index in range(count)}
        gone = [processes[name] for name in running.keys() - wanted]
        missing = [index + 1 for index in range(count) if f"{service}-{index + 1}" not in running]
        try:
            programs = [self._plan.replica(service, index) for index in missing]
        except (PortError, SettingsError) as error:
            raise CommandError(str(error)) from None
        # As with containers: a name leads to a replica from its start on, and not any more once it is to stop.
        kept = [each.program for each in processes.values() if each not in gone]
        self._plan.publish([*kept, *programs])
        for program in programs:
            self._manager.start(program)
        await asyncio.gather(*(self._manager.stop(each.program.name) for each in gone))
        for process in gone:
            self._plan.release(process.program)
        line = f"{service}: {len(running)} → {count}"
        if f"{service.upper()}_TARGET" in os.environ:
            line += f"; workers use what {service.upper()}_TARGET names, not these"
        self._output.say(line)
        return line

    def _slow(self, name: str, seconds: str) -> list[str]:
        process = self._named(name)
        settings = _FAULTY.get(name.rpartition("-")[0])
        if settings is None:
            raise CommandError(f"{name} can't be slow: only rng and hasher have FAULT_SLOW")
        field = settings.fields["fault_slow"]
        try:
            field.read(seconds)
        except ValueError:
            raise CommandError(str(refusal("FAULT_SLOW", seconds, field.allowed))) from None
        service = settings.service.upper()
        process.replace(process.program.with_environment({f"{service}_FAULT_SLOW": seconds}))
        return self._said(f"{name} is restarted with FAULT_SLOW={seconds}")

    def _kill(self, process: Process) -> list[str]:
        process.send(signal.SIGKILL)
        return [f"{process.program.name} is killed, and started again"]

    def _pause(self, process: Process) -> list[str]:
        process.send(signal.SIGSTOP)
        return self._said(f"{process.program.name} is paused")

    def _resume(self, process: Process) -> list[str]:
        process.send(signal.SIGCONT)
        return self._said(f"{process.program.name} runs again")

    def _said(self, line: str) -> list[str]:
        self._output.say(line)
        return [line]

    def _named(self, name: str) -> Process:
        process = self._manager.processes.get(name)
        if process is None:
            raise CommandError(f"there is no {name}; there are {', '.join(self._manager.processes)}")
        if process.pid is None or process.state is State.STOPPING:
            raise CommandError(f"{name} does not run right now: it is {process.state}")
        return process


def _command() -> str:
    """Return how a shell finds this program: by its name, or by its path from here."""
    own = Path(sys.executable).with_name("dockercoins")
    found = shutil.which("dockercoins")
    if (found and Path(found).samefile(own)) or not own.exists():
        return "dockercoins"
    return os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own)
