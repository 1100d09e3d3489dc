import os
import sys
from contextlib import nullcontext

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError, misspelled
from local_run import embedded_redis, output, page, ports, program
from local_run.manager import Manager
from local_run.settings import LocalRunSettings


def main() -> int:
    """Run everything until told to stop; the exit code."""
    try:
        settings = LocalRunSettings.load()
        _report_unknown()
        programs = program.programs(settings, frozenset(os.environ))
        with embedded_redis.data_folder(settings.data_dir) if settings.embeds_redis else nullcontext():
            if settings.embeds_redis:
                embedded_redis.renew_password(settings.data_dir)
            for each in programs:
                each.check_settings()
            ports.check(programs)
            return _run(settings, programs)
    except SettingsError as error:
        return _refuse(error, EXIT_SETTINGS)
    except (embedded_redis.DataFolderError, ports.PortError) as error:
        return _refuse(error, EXIT_FAILURE)


def _report_unknown() -> None:
    for name, meant in misspelled(os.environ, LocalRunSettings.variables() | program.variables()).items():
        sys.stderr.write(f"the variable {name} is unknown; did you mean {meant}?\n")
        # Each service would say so again.
        del os.environ[name]


def _refuse(error: Exception, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


def _run(settings: LocalRunSettings, programs: list[program.Program]) -> int:
    stream = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - it is not ours to close
    os.set_blocking(stream.fileno(), True)  # a terminal is as the last one to use it has left it
    colours = output.wants_colours(stream)
    # A service writes to us and not to a terminal: it can't see for itself whether colours are welcome, nor that
    # someone waits for each line.
    os.environ["PYTHONUNBUFFERED"] = "1"
    if colours:
        os.environ["FORCE_COLOR"] = "1"
    manager = Manager(programs, output.Output(stream, [each.name for each in programs], colours=colours))
    manager.on_turn = page.Page(*program.page_address(settings), manager.say).announce
    return manager.run_until_stopped()


if __name__ == "__main__":
    sys.exit(main())
