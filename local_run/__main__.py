"""Runs all services on this machine without containers, and changes what runs."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from chassis import quick_start

PROGRAM = "dockercoins"

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_SHELLS = ("bash", "zsh", "fish")

_EXAMPLES = """\
examples:
  dockercoins run                       start everything; Ctrl-C stops it
  dockercoins run WORKERS=10 RNGS=2     ten workers and two rngs
  dockercoins run PACE=full             without delays
and in another terminal, while it runs:
  dockercoins status                    the speed, and each replica's share
  dockercoins scale rng=3 worker=10     change the number of replicas
  dockercoins kill rng-2                it is started again
  dockercoins pause rng-2               freeze it; resume continues it
  dockercoins slow rng-2 0.5            each request waits 0.5 s; 0 ends that
  dockercoins probe rng -n 20 -c 10     time 20 single requests, 10 at a time
  eval "$(dockercoins completion bash)"  complete commands and names with Tab

Several runs side by side need a DATA_DIR each; WEBUI_PORT=… before a command
chooses one of them. All variables: docs/configuration.md.
Exit codes: 0, 1 for a failure, 2 for a wrong argument or setting."""


def main() -> int:
    """Carry out the command line, and return the exit code."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["load-test"]:
            from load_test.__main__ import main as load_test

            return load_test(arguments[1:])
        parser = _parser()
        if "_ARGCOMPLETE" in os.environ:
            import argcomplete

            argcomplete.autocomplete(parser)
        options = parser.parse_args(arguments or ["--help"])
        if options.command == "run":
            return _run(options.settings, log=options.log)
        if options.command == "completion":
            return _complete(options.shell)
        if options.command == "probe":
            return _probe(options)
        return _send({name: value for name, value in vars(options).items() if value is not None})
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(given: Sequence[str], *, log: bool) -> int:
    with quick_start.imports():
        from chassis.settings import SettingsError, misspelled
        from local_run.control import NotRunningError
        from local_run.embedded_redis import DataFolderError
        from local_run.programs import PortError, variables
        from local_run.run import run
        from local_run.settings import LocalRunSettings
    known = LocalRunSettings.variables() | variables()
    for each in given:
        name, equals, value = each.partition("=")
        if name not in known or not equals:
            meant = misspelled([name], known).get(name)
            hint = f"did you mean {meant}=…?" if meant else "it must be NAME=VALUE, such as WORKERS=3"
            return _fail(f"{each} is not allowed: {hint}", EXIT_USAGE)
        os.environ[name] = value
    try:
        settings = LocalRunSettings.load()
        for name, meant in misspelled(os.environ, known).items():
            sys.stderr.write(f"the variable {name} is unknown; did you mean {meant}?\n")
            # Each service would report it again.
            del os.environ[name]
        return run(settings, frozenset(os.environ), log=log)
    except (SettingsError, DataFolderError, PortError, NotRunningError) as error:
        return _fail(error, EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILURE)


def _send(request: dict[str, Any]) -> int:
    from local_run import control

    try:
        lines = control.send(request)
    except (control.NotRunningError, OSError) as error:
        return _fail(error, EXIT_FAILURE)
    except control.CommandError as error:
        return _fail(error, EXIT_USAGE)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _probe(options: argparse.Namespace) -> int:
    import asyncio

    from chassis.settings import SettingsError
    from load_test.probe import probe
    from local_run import control

    service = options.name.partition("-")[0]
    try:
        target = os.environ.get(f"{service.upper()}_TARGET") if options.name == service else None
        if target is None:
            servers: dict[str, str] = control.send({"command": "describe"})["servers"]
            chosen = [each for name, each in servers.items() if options.name in {name, name.rpartition("-")[0]}]
            if not chosen:
                return _fail(f"there is no {options.name}; there are {', '.join(servers)}", EXIT_USAGE)
            # One target with the addresses of all: its scheme stands before the first only.
            target = ",".join([chosen[0], *(each.partition(":")[2] for each in chosen[1:])])
        return asyncio.run(probe(service, target, options.number, options.concurrency))
    except (SettingsError, control.CommandError) as error:
        return _fail(error, EXIT_USAGE)
    except (control.NotRunningError, OSError) as error:
        return _fail(error, EXIT_FAILURE)


def _complete(shell: str) -> int:
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode([PROGRAM], shell=shell))
    return 0


def _fail(error: object, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        # This import would take a third of the time of a short command.
        from importlib import metadata

        sys.stdout.write(f"{PROGRAM} {metadata.version('dockercoins-grpc')}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog=PROGRAM, description=__doc__, epilog=_EXAMPLES, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="start everything, until Ctrl-C stops it")
    run.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="settings, as in the environment")
    run.add_argument("--log", action="store_true", help="show the log on a terminal, instead of the live status")
    # For the list of commands: its arguments are parsed elsewhere.
    commands.add_parser("load-test", help="measure speed and latency at many batch sizes", add_help=False)
    scale = commands.add_parser("scale", help="change the number of replicas while it runs")
    counts = scale.add_argument("counts", nargs="+", metavar="SERVICE=N")
    counts.completer = lambda **_: ["rng=", "hasher=", "worker="]  # type: ignore[attr-defined] # of argcomplete
    for command, text in (
        ("kill", "kill a replica; it is started again"),
        ("pause", "freeze a replica"),
        ("resume", "let a frozen replica go on"),
        ("slow", "restart an rng or a hasher with FAULT_SLOW"),
    ):
        one = commands.add_parser(command, help=text)
        name = one.add_argument("name", metavar="REPLICA", help="such as rng-2")
        name.completer = _names  # type: ignore[attr-defined] # of argcomplete
        if command == "slow":
            one.add_argument("seconds", metavar="SECONDS", help="how long each request waits; 0 ends that")
    probe = commands.add_parser("probe", help="time single requests to rng or hasher, as httping and ab do")
    name = probe.add_argument(
        "name", metavar="NAME", help="rng, hasher, or a replica such as rng-2; RNG_TARGET=… names an rng elsewhere"
    )
    name.completer = _names  # type: ignore[attr-defined] # of argcomplete
    probe.add_argument("-n", dest="number", metavar="N", type=_count(100_000), default=10, help="requests; 10")
    probe.add_argument("-c", dest="concurrency", metavar="N", type=_count(100), default=1, help="at a time; 1")
    commands.add_parser("status", help="show the speed and the replicas")
    shells = commands.add_parser("completion", help="print what makes a shell complete commands and names")
    shells.add_argument("shell", choices=_SHELLS)
    return parser


def _count(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be 1 to {most}")
        return int(text)

    return count


def _names(**_: object) -> list[str]:
    from local_run import control

    try:
        names: list[str] = control.send({"command": "describe"})["names"]
    except (control.NotRunningError, control.CommandError, OSError):
        return []
    return names


if __name__ == "__main__":
    sys.exit(main())
