"""The connections to a gRPC server of this process, and how to close one that gRPC would keep.

gRPC has no call for that. So the socket is shut down under it, and to gRPC the client has closed it.
"""

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")


def descriptors() -> int:
    """Open files of this process, connections and all; the cheapest sign that there may be many."""
    return sum(1 for _ in _DESCRIPTORS.iterdir())


class Connections:
    """Those to one port. A peer is one of them, named as by gRPC's contexts: `ipv4:10.0.0.3:4711`."""

    def __init__(self, port: int) -> None:
        self._port = port

    def peers(self) -> list[str]:
        """All there are, those included that have not begun to speak. It takes some 0.1 ms for each."""
        return [peer for peer, _ in self._sockets()]

    def open_streams(self) -> dict[str, int]:
        """Calls that are open, by peer, those included whose request has not come yet. It takes some 0.7 ms a peer.

        Calls of connections that have ended, which wait for this process to end them, are not counted: they would count
        for an address whose next client has none.
        """
        # Only a crowded server needs it.
        from grpc_channelz.v1 import channelz, channelz_pb2  # noqa: PLC0415

        # It is typed for calls with a context, which it needs only when what was asked for is not there.
        servicer: Any = channelz.ChannelzServicer
        found = {}
        connected = set(self.peers())
        with _gone():
            for server in servicer.GetServers(channelz_pb2.GetServersRequest(), None).server:
                of_server = channelz_pb2.GetServerSocketsRequest(server_id=server.ref.server_id, max_results=1 << 16)
                for ref in servicer.GetServerSockets(of_server, None).socket_ref:
                    peer = ref.name.rpartition(" ")[2]
                    with _gone():
                        if peer in connected:
                            about = servicer.GetSocket(channelz_pb2.GetSocketRequest(socket_id=ref.socket_id), None)
                            found[peer] = _open(about.socket.data)
        return found

    def shut(self, peers: Collection[str]) -> int:
        """Close these; how many there were."""
        wanted = set(peers)
        return sum(peer in wanted and _shut(connection) for peer, connection in self._sockets())

    def _sockets(self) -> Iterator[tuple[str, socket.socket]]:
        for copy in _copies():
            with copy, contextlib.suppress(OSError):
                is_tcp = copy.type == socket.SOCK_STREAM and copy.family in {socket.AF_INET, socket.AF_INET6}
                if is_tcp and copy.getsockname()[1] == self._port:
                    yield _peer(*copy.getpeername()[:2]), copy


def _copies() -> Iterator[socket.socket]:
    """All sockets of this process. A copy stays the same connection, whatever becomes of its number."""
    for each in list(_DESCRIPTORS.iterdir()):
        with contextlib.suppress(OSError):
            copy = os.dup(int(each.name))
            if stat.S_ISSOCK(os.fstat(copy).st_mode):
                yield socket.socket(fileno=copy)
            else:
                os.close(copy)


def _shut(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        return True
    return False


@contextmanager
def _gone() -> Iterator[None]:
    """Pass over what was closed a moment ago: the servicer tells that to a context, which it has none of here."""
    with contextlib.suppress(AttributeError):
        yield


def _open(data: Any) -> int:
    return int(data.streams_started - data.streams_succeeded - data.streams_failed)


def _peer(host: str, port: int) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"ipv6:%5B{unquote(host)}%5D:{port}"
        address = address.ipv4_mapped
    return f"ipv4:{address}:{port}"
