"""The settings that all gRPC servers share."""

from typing import ClassVar

from chassis.grpc_server.limits import MAX_CONCURRENT_REQUESTS
from chassis.settings import ByPace, ServiceSettings, SettingsError, number, tcp_port, whole

# A worker replaces a stream that is silent for 30 s, so longer delays would break streams.
MAX_DELAY_S = 10.0


class GrpcServerSettings(ServiceSettings):
    """The settings of every gRPC server. A server's `port` and its `concurrency` have defaults of their own."""

    # Bytes of a request; a larger one is refused with RESOURCE_EXHAUSTED before it is read.
    largest_request: ClassVar[int]

    port: int = tcp_port(0, "The port that clients use.")
    delay: float = number(ByPace(0.1, 0), 0, MAX_DELAY_S, "seconds", "The minimum time that a request takes.")
    concurrency: int = whole(
        ByPace(0, MAX_CONCURRENT_REQUESTS),
        0,
        1_024,
        "requests, 0 for unlimited",
        f"The maximum of requests served at once; with DELAY=0 at most {MAX_CONCURRENT_REQUESTS}.",
    )

    fault_error_rate: float = number(
        0, 0, 1, "part of the requests", "The part of the requests that fail, as an injected fault."
    )
    fault_hang_rate: float = number(
        0, 0, 1, "part of the requests", "The part of the requests that get no response, as an injected fault."
    )
    fault_slow: float = number(0, 0, MAX_DELAY_S, "seconds", "How long every request waits, as an injected fault.")

    def check(self) -> None:
        """Raise SettingsError for rates that are more than all requests together."""
        super().check()
        if self.fault_error_rate + self.fault_hang_rate > 1:
            raise SettingsError(
                f"{self.variable('fault_error_rate')}={self.fault_error_rate} + "
                f"{self.variable('fault_hang_rate')}={self.fault_hang_rate} is not allowed: "
                "together they must be at most 1"
            )

    @property
    def faulty(self) -> bool:
        """Whether faults are injected."""
        return any((self.fault_error_rate, self.fault_hang_rate, self.fault_slow))
