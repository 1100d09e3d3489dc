import os
import sys
from contextlib import nullcontext

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError, misspelled
from local_run import embedded_redis
from local_run.manager import Manager
from local_run.output import Output, PageAddress, wants_colours
from local_run.programs import PortError, Program, check_ports, page_address, programs, variables
from local_run.settings import LocalRunSettings


def main() -> int:
    """Run everything until a signal stops it, and return the exit code."""
    try:
        settings = LocalRunSettings.load()
        _report_unknown()
        planned = programs(settings, frozenset(os.environ))
        with embedded_redis.data_folder(settings.data_dir) if settings.embeds_redis else nullcontext():
            if settings.embeds_redis:
                embedded_redis.renew_password(settings.data_dir)
            for program in planned:
                program.check_settings()
            check_ports(planned)
            return _run(settings, planned)
    except (SettingsError, embedded_redis.DataFolderError, PortError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SETTINGS if isinstance(error, SettingsError) else EXIT_FAILURE


def _report_unknown() -> None:
    for name, meant in misspelled(os.environ, LocalRunSettings.variables() | variables()).items():
        sys.stderr.write(f"the variable {name} is unknown; did you mean {meant}?\n")
        # Each service would report it again.
        del os.environ[name]


def _run(settings: LocalRunSettings, planned: list[Program]) -> int:
    stream = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - it is not ours to close
    os.set_blocking(stream.fileno(), True)  # its last user may have left a terminal non-blocking
    colours = wants_colours(stream)
    # A service writes to a pipe: it can't see for itself that colours are welcome, nor that each line is awaited.
    os.environ["PYTHONUNBUFFERED"] = "1"
    if colours:
        os.environ["FORCE_COLOR"] = "1"
    manager = Manager(planned, Output(stream, [program.name for program in planned], colours=colours))
    manager.on_turn = PageAddress(*page_address(settings), manager.say).announce
    return manager.run_until_stopped()


if __name__ == "__main__":
    sys.exit(main())
