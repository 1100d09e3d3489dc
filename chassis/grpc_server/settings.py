from typing import ClassVar, Self

from pydantic import model_validator

from chassis.grpc_server.pacing import Pacing
from chassis.settings import ServiceSettings, number, whole

MAX_DELAY = 10.0
"""Seconds. A worker gives up what is not answered 30 s after its stream's time."""


class GrpcServerSettings(ServiceSettings):
    """What every gRPC server can be told."""

    largest_request: ClassVar[int]
    """Bytes that a message to it may have; a larger one is refused with RESOURCE_EXHAUSTED before it is read."""

    port: int = whole(None, 0, 65_535, "TCP port, 0 for any free one")
    delay: float = number(None, 0, MAX_DELAY, "seconds that a request takes at least")
    concurrency: int = whole(None, 0, 1_024, "requests served at once, 0 for unlimited")

    fault_error_rate: float = number(0, 0, 1, "part of the requests that fail on purpose")
    fault_hang_rate: float = number(0, 0, 1, "part of the requests that are never answered, on purpose")
    fault_slow: float = number(0, 0, MAX_DELAY, "seconds that every request waits on purpose")

    @model_validator(mode="after")
    def _check_fault_rates(self) -> Self:
        if self.fault_error_rate + self.fault_hang_rate > 1:
            raise ValueError(
                f"{self.variable('fault_error_rate')}={self.fault_error_rate} + "
                f"{self.variable('fault_hang_rate')}={self.fault_hang_rate} is not allowed: "
                "together they must be at most 1"
            )
        return self

    @property
    def faulty(self) -> bool:
        """Whether anything is to go wrong on purpose."""
        return any((self.fault_error_rate, self.fault_hang_rate, self.fault_slow))

    def pacing(self) -> Pacing:
        """Turns at this server."""
        return Pacing(self.delay, self.concurrency)
