"""The settings of hasher."""

from collections.abc import Mapping
from typing import Any, ClassVar

from chassis.batch_limits import MAX_BATCH_BYTES
from chassis.grpc_server.settings import GrpcServerSettings


class HasherSettings(GrpcServerSettings):
    """The settings of hasher. At the classic pace it serves any number of requests at once, each in 0.1 s."""

    service: ClassVar[str] = "hasher"

    defaults: ClassVar[Mapping[str, Any]] = {"port": 50_151, "metrics_port": 9_102}

    # A request that is a little too large is read, so that the response can name the invalid field.
    largest_request: ClassVar[int] = MAX_BATCH_BYTES + 64 * 1024
