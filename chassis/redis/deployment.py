"""How a URL names a Redis of more than one server.

redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME   Sentinels, who know which server is the master of that name
redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT         nodes of a cluster, who know which of them has which slot

With `rediss-` everything is encrypted. Of the hosts, any that answers is enough.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import unquote

from chassis.settings import HOST_PATTERN, PORT_PATTERN

_HOSTS = rf"{HOST_PATTERN}(?::{PORT_PATTERN})?(?:,{HOST_PATTERN}(?::{PORT_PATTERN})?)*"

PATTERN = rf"rediss?-sentinel://(?:[^\s/?#]*@)?{_HOSTS}/[\w.-]+|rediss?-cluster://(?:[^\s/?#]*@)?{_HOSTS}/?"

_PARTS = re.compile(r"redis(?P<s>s?)-(?P<kind>sentinel|cluster)://(?:(?P<login>.*)@)?(?P<hosts>[^/]+)/?(?P<name>.*)")

Node = tuple[str, int]
"""A host and its port."""


class Kind(StrEnum):
    """Who knows which server is the one."""

    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_PORTS = {Kind.SENTINEL: 26_379, Kind.CLUSTER: 6_379}


@dataclass(frozen=True)
class Deployment:
    """Servers that take over from one another."""

    kind: Kind
    encrypted: bool
    nodes: tuple[Node, ...]
    """Who is asked for the master."""
    name: str
    """Of the master, as Sentinels know it; empty with a cluster."""
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """What a URL that matches PATTERN names; None for one of a single server."""
        parts = _PARTS.fullmatch(url)
        if parts is None:
            return None
        kind = Kind(parts["kind"])
        username, _, password = (parts["login"] or "").partition(":")
        return cls(
            kind,
            encrypted=bool(parts["s"]),
            nodes=tuple(_node(each, _PORTS[kind]) for each in parts["hosts"].split(",")),
            name=parts["name"],
            username=unquote(username) or None,
            password=unquote(password) or None,
        )


def _node(text: str, default_port: int) -> Node:
    host, port = re.fullmatch(r"(\[.*\]|[^:]*)(?::(.*))?", text, re.DOTALL).groups()  # type: ignore[union-attr] # any does
    return host.strip("[]"), int(port or default_port)
