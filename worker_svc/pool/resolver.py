"""Which addresses a target has now."""

import contextlib
import re
import socket

import aiodns
import pycares

# A name server that does not respond within this time is queried again, at most TRIES times in all.
QUERY_TIMEOUT_S = 1.0
TRIES = 3

_NAME = re.compile(
    r"(?:dns:)?(?://(?P<server>[^/]*)/)?(?P<authority>(?:\[(?P<ipv6>.+)\]|(?P<host>[^:/]+)):(?P<port>\d+))"
)
_ADDRESSES = re.compile(r"(?P<scheme>ipv4|ipv6|unix):(?P<addresses>.*\D.*)")


# What a look-up ends with where the answer is too long for UDP and TCP does not work; the part that fits is of use.
_PERHAPS_TRUNCATED = {aiodns.error.ARES_ECONNREFUSED, aiodns.error.ARES_ETIMEOUT, aiodns.error.ARES_ENODATA}
# Of the look-up, and of a new resolver: no file descriptor is left, or the server in the target is no address.
_ERRORS = (aiodns.error.DNSError, pycares.AresError, OSError, UnicodeError)
_TAKE_TRUNCATED = pycares.ARES_FLAG_IGNTC | pycares.ARES_FLAG_EDNS


class ResolutionError(Exception):
    """A look-up that found no address, and why."""


class Resolver:
    """Looks up one gRPC target: [dns:[//SERVER[:PORT]/]]NAME:PORT, or addresses as they are."""

    def __init__(self, target: str) -> None:
        self.authority: str | None = None
        """What a server is called in requests, if the target has a name."""
        self.host: str | None = None
        """The name in it, which the certificate of a server must have."""
        self.truncated = False
        """Whether the last look-up found only a part: the answer was too long for UDP, and TCP did not work."""
        self._addresses: list[str] = []
        if match := _ADDRESSES.fullmatch(target):
            self._addresses = [f"{match['scheme']}:{each}" for each in match["addresses"].split(",")]
        elif match := _NAME.fullmatch(target):
            self.authority, self.host = match["authority"], match["ipv6"] or match["host"]
            self._port = int(match["port"])
            self._servers = [match["server"]] if match["server"] else None
        else:
            raise ValueError(f"{target!r} is not a target")

    async def resolve(self) -> list[str]:
        """Return gRPC targets of one address each, IPv4 and IPv6. Raises ResolutionError if there are none."""
        if self.host is None:
            return self._addresses
        self.truncated = False
        try:
            return await self._look_up(self.host)
        except _ERRORS as error:
            failure = error
        if failure.args[0] in _PERHAPS_TRUNCATED:
            with contextlib.suppress(*_ERRORS):
                addresses = await self._look_up(self.host, flags=_TAKE_TRUNCATED, tries=1)
                self.truncated = True
                return addresses
        raise ResolutionError(f"{self.host}: {failure.args[-1]}")

    async def _look_up(self, host: str, *, flags: int | None = None, tries: int = TRIES) -> list[str]:
        # A new resolver each time, because c-ares answers from its cache for as long as the TTL lets it: 600 s in
        # Docker. One look-up for both families ends at the first search domain that has either.
        resolver = aiodns.DNSResolver(nameservers=self._servers, timeout=QUERY_TIMEOUT_S, tries=tries, flags=flags)
        try:
            found = await resolver.getaddrinfo(host, port=self._port, type=socket.SOCK_STREAM)
        finally:
            await resolver.close()
        # An address that is listed twice counts once.
        return list(dict.fromkeys(_address(node.family, node.addr[0].decode(), self._port) for node in found.nodes))


def _address(family: int, host: str, port: int) -> str:
    return f"ipv6:[{host}]:{port}" if family == socket.AF_INET6 else f"ipv4:{host}:{port}"
