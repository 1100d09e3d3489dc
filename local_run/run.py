"""One run of the whole system: its start, its live status, and what the commands change while it runs."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from chassis.log import STANDARD_OUTPUT, LogOutput, wants_colours
from chassis.settings import Pace, Settings, SettingsError, refusal
from hasher_svc.settings import HasherSettings
from local_run import control, embedded_redis
from local_run.control import CommandError
from local_run.manager import Manager, Process, State
from local_run.output import Output
from local_run.page import Page
from local_run.programs import DISCOVERED, Plan, PortError, Program
from local_run.settings import LocalRunSettings
from local_run.status import order, status_lines
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings

# After this time the address is printed although the page is not ready.
PAGE_LIMIT_S = 5.0

STATUS_INTERVAL_S = 1.0

# The time between two requests to the page, before it is ready and after it has ended a stream.
_READY_INTERVAL_S = 0.1
_RETRY_S = 0.5

# The services that can be scaled, with the setting that has the bounds.
SCALABLE = {"rng": "rngs", "hasher": "hashers", "worker": "workers"}

_FAULTY: Mapping[str, type[Settings]] = {"rng": RngSettings, "hasher": HasherSettings}

_SIGNALS = {
    "kill": (signal.SIGKILL, "is killed, and started again"),
    "pause": (signal.SIGSTOP, "is paused"),
    "resume": (signal.SIGCONT, "runs again"),
}


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
        self._page = Page(plan.page.host, plan.page.number, next(iter(sorted(webui.hosts)), ""), webui.token)
        terminal = os.isatty(STANDARD_OUTPUT) and os.environ.get("TERM") != "dumb"
        self._live = terminal and not log
        self._data = str(Path(settings.data_dir).absolute())
        self._announced = asyncio.Event()
        # Of two commands that start and stop replicas, the second waits for the first.
        self._changing = asyncio.Lock()
        self._state: dict[str, Any] | None = None
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
        self._said(*self._plan.take_notes())
        async with control.serve(self._folder, self._handle):
            beside = (self._announce(), self._follow(), self._show()) if self._live else (self._announce(),)
            return await self._manager.run(self._programs, *beside)

    # What is shown.

    async def _announce(self) -> None:
        settings, url = self._settings, self._page.url
        try:
            async with asyncio.timeout(PAGE_LIMIT_S):
                await self._wait_for_page()
        except TimeoutError:
            self._starting.close()
            self._announced.set()
            awaited = "" if settings.embeds_redis else " (is Redis there?)"
            self._output.say(f"the page will be at {url}, and is not ready yet{awaited}")
            await self._wait_for_page()
        self._starting.close()
        counts = settings.replicas.items()
        what = ", ".join(f"{count} {name}" if count == 1 else f"{count} {name}s" for name, count in counts)
        redis = "Redis" if settings.embeds_redis else "the Redis of REDIS_URL"
        command = _command()
        lines = [
            f"the page is at {url} (Ctrl-C stops everything)",
            f"{what}, webui and {redis}, {settings.pace} pace",
            *([f"the counts are kept in {settings.data_dir}/"] if settings.embeds_redis else []),
            "try in another terminal:",
            f"  {command} scale worker=10  # {'faster' if settings.pace is Pace.CLASSIC else 'uses free CPU, if any'}",
            f"  {command} scale rng=3      # watch their shares",
            f"  {command} kill rng-1       # nothing is lost",
        ]
        for line in lines:
            self._output.say(line)
        self._announced.set()

    async def _wait_for_page(self) -> None:
        while True:
            state = await self._page.state()
            if state and state["redis"]:
                return
            await asyncio.sleep(_READY_INTERVAL_S)

    async def _follow(self) -> None:
        while True:
            async for state in self._page.states():
                self._state = state
            self._state = None
            await asyncio.sleep(_RETRY_S)

    async def _show(self) -> None:
        self._output.show([f"starting; the page will be at {self._page.url}"])
        await self._announced.wait()
        while True:
            self._output.show(self._status(*shutil.get_terminal_size()))
            await asyncio.sleep(STATUS_INTERVAL_S)

    def _status(self, columns: int = 1_000, rows: int = 1_000) -> list[str]:
        return status_lines(self._page.url, self._state, self._manager.processes.values(), rows, columns)

    # What the commands do.

    async def _handle(self, request: control.Request) -> Any:
        if self._manager.stopping.is_set():
            raise CommandError("it is stopping")
        match request:
            case {"command": "describe"}:
                programs = {name: self._manager.processes[name].program for name in self._names()}
                return {
                    "port": self._plan.page.number,
                    "data": self._data,
                    "names": list(programs),
                    "servers": {
                        name: each.ports[0].target for name, each in programs.items() if name.startswith(DISCOVERED)
                    },
                }
            case {"command": "status"}:
                if not self._live:
                    self._state = await self._page.state()
                return self._status()
            case {"command": "scale", "counts": [*counts]}:
                async with self._changing:
                    return await self._scale(counts)
            case {"command": "slow", "name": str(name), "seconds": str(seconds)}:
                async with self._changing:
                    return await self._slow(self._named(name).program, seconds)
            case {"command": "kill" | "pause" | "resume" as command, "name": str(name)}:
                number, done = _SIGNALS[command]
                self._named(name).send(number)
                return self._said(f"{name} {done}") if command != "kill" else [f"{name} {done}"]
            case _:
                raise CommandError("it has another version, without this command")

    async def _scale(self, counts: list[Any]) -> list[str]:
        wanted: dict[str, int] = {}
        for each in map(str, counts):
            service, equals, count = each.partition("=")
            if service not in SCALABLE or not equals:
                raise CommandError(f"{each} is not allowed: it must be rng=N, hasher=N or worker=N, such as rng=3")
            wanted[service] = _read(LocalRunSettings, SCALABLE[service], service, count)
        return [line for service, count in wanted.items() for line in await self._scale_service(service, count)]

    async def _scale_service(self, service: str, count: int) -> list[str]:
        processes = self._manager.processes
        running = {name for name in processes if name.startswith(f"{service}-")}
        wanted = {f"{service}-{index + 1}": index + 1 for index in range(count)}
        gone = [processes[name] for name in running - wanted.keys()]
        try:
            programs = [self._plan.replica(service, number) for name, number in wanted.items() if name not in running]
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
        return self._said(*self._plan.take_notes(), line)

    async def _slow(self, program: Program, seconds: str) -> list[str]:
        service = program.name.rpartition("-")[0]
        if service not in _FAULTY:
            raise CommandError(f"{program.name} can't be slow: only rng and hasher have FAULT_SLOW")
        _read(_FAULTY[service], "fault_slow", "FAULT_SLOW", seconds)
        await self._manager.stop(program.name)
        environment = {**program.environment, f"{service.upper()}_FAULT_SLOW": seconds}
        self._manager.start(replace(program, environment=environment))
        return self._said(f"{program.name} is restarted with FAULT_SLOW={seconds}")

    def _said(self, *lines: str) -> list[str]:
        for line in lines:
            self._output.say(line)
        return [*lines]

    def _names(self) -> list[str]:
        return sorted(self._manager.processes, key=order)

    def _named(self, name: str) -> Process:
        process = self._manager.processes.get(name)
        if process is None:
            raise CommandError(f"there is no {name}; there are {', '.join(self._names())}")
        if process.pid is None or process.state is State.STOPPING:
            raise CommandError(f"{name} does not run right now: it is {process.state}")
        return process


def _read(settings: type[Settings], name: str, shown: str, value: str) -> Any:
    """Return the value of a setting. Raises CommandError."""
    field = settings.fields[name]
    try:
        return field.read(value)
    except ValueError:
        raise CommandError(str(refusal(shown, value, field.allowed))) from None


def _command() -> str:
    """Return how a shell finds this program: by its name, or by its path from here."""
    own = Path(sys.executable).with_name("dockercoins")
    found = shutil.which("dockercoins")
    if (found and Path(found).samefile(own)) or not own.exists():
        return "dockercoins"
    return os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own)
