"""Whether the ports of a local run are free, asked before anything starts."""

import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from local_run.program import Port, Program


class PortError(Exception):
    """A port can't be had. The message is one line that names the program, the port and the variable to change."""


def check(programs: Iterable[Program]) -> None:
    """Raise PortError for the first port that is taken, or that two of the programs are to have."""
    with ExitStack() as held:
        for program in programs:
            for port in program.ports:
                try:
                    held.enter_context(_hold(port))
                except OSError as error:
                    raise PortError(f"{program.name}: {_explain(port, error)}") from None


def _hold(port: Port) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(port.host, port.number, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # On macOS a port can be taken at 127.0.0.1 although someone else has it at all addresses.
        probe.settimeout(0.2)
        if probe.connect_ex(address) == 0:
            raise OSError(errno.EADDRINUSE, "in use")
    return socket.create_server((port.host, port.number), family=family)


def _explain(port: Port, error: OSError) -> str:
    choose = f"choose another with {port.variable}=…"
    if error.errno == errno.EADDRINUSE:
        return f"port {port.number} is already in use; {choose}"
    return f"port {port.number} can't be used ({error.strerror}); {choose}"
