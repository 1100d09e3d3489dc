"""Listening sockets, opened before a library gets them, so that a port in use is one clear line."""

import errno
import socket
from ipaddress import ip_address

from chassis.settings import refusal


class ListenError(Exception):
    """A port can't be listened on. The message is one line that names the variable, the address and the cause."""


def host_port(host: str, port: int) -> str:
    """Return an address as URLs and gRPC write it, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def create(address: str, port: int, address_variable: str = "BIND_ADDRESS") -> socket.socket:
    """Return a listening TCP socket that no other process shares; `::` is for IPv4 as well, as it is in gRPC.

    Raises SettingsError for an address that is none of this machine's, and OSError for a port that can't be used.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = family == socket.AF_INET6 and ip_address(address).is_unspecified and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((address, port), family=family, backlog=512, dualstack_ipv6=both)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise refusal(address_variable, address, "an address of this machine, 0.0.0.0 or ::") from None
        raise


def listen(variable: str, address: str, port: int, address_variable: str = "BIND_ADDRESS") -> socket.socket:
    """Return a socket as create() does, for the port and the address that the two variables set.

    Raises SettingsError for an address that is none of this machine's, and ListenError for a port that can't be used.
    """
    try:
        return create(address, port, address_variable)
    except OSError as error:
        cause = "is already in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise ListenError(f"{variable}={port}: port {port} of {address} {cause}") from None
