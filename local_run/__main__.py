"""The whole system on one machine without containers: Redis, the four services, and a manager of their processes."""

import asyncio
import os
import sys
from contextlib import nullcontext

from chassis.log import STANDARD_OUTPUT, LogOutput
from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError, misspelled
from local_run import embedded_redis
from local_run.manager import Manager
from local_run.output import Output, wants_colours
from local_run.page import Page
from local_run.programs import PortError, Program, check_ports, page_address, programs, variables
from local_run.settings import LocalRunSettings


def main() -> int:
    """Run everything until a signal stops it, and return the exit code."""
    try:
        settings = LocalRunSettings.load()
        _report_unknown()
        with embedded_redis.data_folder(settings.data_dir) if settings.embeds_redis else nullcontext() as lock:
            planned = programs(settings, frozenset(os.environ), lock)
            if settings.embeds_redis:
                embedded_redis.renew_password(settings.data_dir)
            for program in planned:
                program.check_settings()
            check_ports(planned)
            return asyncio.run(_run(settings, planned))
    except (SettingsError, embedded_redis.DataFolderError, PortError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SETTINGS if isinstance(error, SettingsError) else EXIT_FAILURE


def _report_unknown() -> None:
    for name, meant in misspelled(os.environ, LocalRunSettings.variables() | variables()).items():
        sys.stderr.write(f"the variable {name} is unknown; did you mean {meant}?\n")
        # Each service would report it again.
        del os.environ[name]


async def _run(settings: LocalRunSettings, planned: list[Program]) -> int:
    colours = wants_colours(STANDARD_OUTPUT)
    # A service writes to a pipe: it can't see for itself that colours are welcome, nor that each line is awaited.
    os.environ["PYTHONUNBUFFERED"] = "1"
    if colours:
        os.environ["FORCE_COLOR"] = "1"
    manager = Manager(Output(LogOutput(STANDARD_OUTPUT), [program.name for program in planned], colours=colours))
    announcing = asyncio.create_task(_announce(Page(*page_address(settings)), manager))
    code = await manager.run(planned)
    announcing.cancel()
    return code


async def _announce(page: Page, manager: Manager) -> None:
    await page.wait_until_it_responds()
    manager.say(f"the page is at {page.url} (Ctrl-C stops everything)")


if __name__ == "__main__":
    sys.exit(main())
