"""Whether the ports of a local run are free, asked before anything starts."""

import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from chassis import listener
from local_run.program import Port, Program


class PortError(Exception):
    """A port can't be had. The message is one line that names the program, the port and the variable to change."""


def check(programs: Iterable[Program]) -> None:
    """Raise PortError for the first port that is taken, or that two of the programs are to have.

    Raises SettingsError for an address that is none of this machine's.
    """
    with ExitStack() as held:
        for program in programs:
            for port in program.ports:
                try:
                    held.enter_context(_hold(port))
                except OSError as error:
                    raise PortError(f"{program.name}: {_explain(port, error)}") from None


def _hold(port: Port) -> socket.socket:
    # On macOS a port can be taken at 127.0.0.1 although someone else has it at all addresses.
    try:
        socket.create_connection((port.address, port.number), 0.2).close()
    except OSError:
        return listener.create(port.address, port.number, port.address_variable)
    raise OSError(errno.EADDRINUSE, "in use")


def _explain(port: Port, error: OSError) -> str:
    choose = f"choose another with {port.variable}=…"
    if error.errno == errno.EADDRINUSE:
        return f"port {port.number} is already in use; {choose}"
    return f"port {port.number} can't be used ({error.strerror}); {choose}"
