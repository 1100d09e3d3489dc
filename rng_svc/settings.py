from collections.abc import Mapping
from typing import ClassVar

from chassis import cpus
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.settings import Pace, tcp_port


class RngSettings(GrpcServerSettings):
    """What rng can be told. At the classic pace it serves one request at a time, so it is what limits the system."""

    service: ClassVar[str] = "rng"

    by_pace: ClassVar[Mapping[Pace, Mapping[str, object]]] = {
        Pace.CLASSIC: {"delay": 0.1, "concurrency": 1},
        Pace.FULL: {"delay": 0, "concurrency": cpus.usable()},
    }

    # Numbers and the name of a trace: fewer than 100.
    largest_request: ClassVar[int] = 4 * 1024

    port: int = tcp_port(50_051)
    metrics_port: int = tcp_port(9_101)
