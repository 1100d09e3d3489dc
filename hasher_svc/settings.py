from collections.abc import Mapping
from typing import ClassVar

from chassis import cpus
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.limits import MAX_BATCH_BYTES
from chassis.settings import Pace, tcp_port


class HasherSettings(GrpcServerSettings):
    """What hasher can be told. At the classic pace it serves any number of requests at once, each in 0.1 s."""

    service: ClassVar[str] = "hasher"

    by_pace: ClassVar[Mapping[Pace, Mapping[str, object]]] = {
        Pace.CLASSIC: {"delay": 0.1, "concurrency": 0},
        Pace.FULL: {"delay": 0, "concurrency": cpus.usable()},
    }

    # What is a little too large for a batch is read, so that it can be said which field is wrong.
    largest_request: ClassVar[int] = MAX_BATCH_BYTES + 64 * 1024

    port: int = tcp_port(50_151)
    metrics_port: int = tcp_port(9_102)
