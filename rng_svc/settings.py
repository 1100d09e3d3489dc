"""The settings of rng."""

from collections.abc import Mapping
from typing import Any, ClassVar

from chassis.grpc_server.limits import MAX_CONCURRENT_REQUESTS
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.settings import ByPace


class RngSettings(GrpcServerSettings):
    """The settings of rng. At the classic pace it serves one request at a time, so it is the bottleneck."""

    service: ClassVar[str] = "rng"

    defaults: ClassVar[Mapping[str, Any]] = {
        "port": 50_051,
        "metrics_port": 9_101,
        "concurrency": ByPace(1, MAX_CONCURRENT_REQUESTS),
    }

    # 64 batches, each of them numbers and the name of a trace: fewer than 100 bytes.
    largest_request: ClassVar[int] = 16 * 1024
