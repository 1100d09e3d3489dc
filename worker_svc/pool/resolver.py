"""Resolves a gRPC target to addresses."""

import contextlib
import socket
from pathlib import Path

import aiodns
import pycares

from worker_svc.settings import parse_target

# A name server that does not respond within this time is queried again, at most TRIES times in all.
QUERY_TIMEOUT_S = 1.0
TRIES = 3

# ARES_AI_NOSORT of ares.h, which pycares does not export. To sort addresses, c-ares connects a socket to each, which
# takes a third of the CPU of a look-up.
_NO_SORT = 1 << 7

# Errors of a look-up whose answer is too long for UDP while TCP fails. The part that fits is still useful.
_PERHAPS_TRUNCATED = {aiodns.error.ARES_ECONNREFUSED, aiodns.error.ARES_ETIMEOUT, aiodns.error.ARES_ENODATA}
_TAKE_TRUNCATED = pycares.ARES_FLAG_IGNTC | pycares.ARES_FLAG_EDNS
# Errors of a look-up, and of creating a resolver: no file descriptor is left, or the name server is no address.
_ERRORS = (aiodns.error.DNSError, pycares.AresError, OSError, UnicodeError)


class Resolver:
    """Looks up one gRPC target: [dns:[//SERVER[:PORT]/]]NAME:PORT, addresses as they are, or file:PATH.

    A file has one target of one address per line.
    """

    def __init__(self, target: str) -> None:
        parts = parse_target(target)
        self.target = target
        # NAME:PORT, if the target has a name.
        self.authority = parts["authority"] or None
        # Why the last look-up found nothing, or only a part.
        self.failure = ""
        # The file that is looked up, if it is one.
        self.file = Path(parts["file"]) if parts["file"] else None
        scheme, _, addresses = parts["addresses"].partition(":")
        self._addresses = [f"{scheme}:{each}" for each in addresses.split(",")]
        self._host, self._port = parts["host"].strip("[]"), int(parts["port"] or 0)
        self._servers = [parts["server"]] if parts["server"] else None

    async def resolve(self) -> list[str]:
        """Return gRPC targets of one address each, IPv4 and IPv6; nothing if the look-up failed."""
        if self.file is not None:
            try:
                found, self.failure = list(dict.fromkeys(map(_one_address, self.file.read_text().split()))), ""
            except OSError as error:
                found, self.failure = [], f"{self.file}: {error.strerror}"
            except ValueError as error:
                found, self.failure = [], f"{self.file}: {error}"
            return found
        if self.authority is None:
            return self._addresses
        try:
            found, self.failure = await self._look_up(), ""
        except _ERRORS as error:
            found, failure = [], f"{self._host}: {error.args[-1]}"
            if error.args[0] in _PERHAPS_TRUNCATED:
                with contextlib.suppress(*_ERRORS):
                    found = await self._look_up(flags=_TAKE_TRUNCATED, tries=1)
                    failure = f"too long for UDP, and TCP does not work: only {len(found)} addresses are known"
            self.failure = failure
        return found

    async def _look_up(self, *, flags: int | None = None, tries: int = TRIES) -> list[str]:
        # A new resolver each time, because c-ares answers from its cache for as long as the TTL lets it: 600 s in
        # Docker. One look-up for both families ends at the first search domain that has either.
        resolver = aiodns.DNSResolver(nameservers=self._servers, timeout=QUERY_TIMEOUT_S, tries=tries, flags=flags)
        try:
            found = await resolver.getaddrinfo(self._host, port=self._port, type=socket.SOCK_STREAM, flags=_NO_SORT)
        finally:
            await resolver.close()
        # An address that is listed twice counts once.
        return list(dict.fromkeys(self._target(node.family, node.addr[0].decode()) for node in found.nodes))

    def _target(self, family: int, host: str) -> str:
        return f"ipv6:[{host}]:{self._port}" if family == socket.AF_INET6 else f"ipv4:{host}:{self._port}"


def _one_address(target: str) -> str:
    """Return the target. Raises ValueError if it is not a target of one address."""
    addresses = parse_target(target)["addresses"]
    if not addresses or "," in addresses:
        raise ValueError(f"{target!r} is not a target of one address")
    return target
