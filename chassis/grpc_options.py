"""The channel and server arguments that differ from gRPC's defaults, each with its reason.

Names are those of grpc/impl/channel_arg_names.h. The measurements are ours, with grpcio 1.85 in containers.
"""

import json

Options = tuple[tuple[str, int | str], ...]

_KEEPALIVE_TIME_MS = 5_000
_PING_TIMEOUT_MS = 2_000

SERVER: Options = (
    # With the default a second server takes the same port in silence, and connections go to either.
    ("grpc.so_reuseport", 0),
    # Clients ping every 5 s; a server that allows less would close their connections with "too many pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    # A client that froze or was cut off is noticed as fast as a server is.
    ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
)


def client(service: str) -> Options:
    """Arguments of a channel to a service with this full name, which its servers must have registered for health.

    Equal for every channel of one service, and they must stay so: only then do channels share connections.
    """
    policy = {
        # One address, one backend: the default would send every stream to the first.
        "loadBalancingConfig": [{"round_robin": {}}],
        # A server that drains says so here and gets no new streams.
        "healthCheckConfig": {"serviceName": service},
    }
    return (
        ("grpc.service_config", json.dumps(policy)),
        # A frozen or cut-off peer shows after both of these, in 2.1 to 2.8 s of silence under load; with
        # grpc.keepalive_timeout_ms instead of the second it took 60 s.
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
        # How soon a channel whose connections drop may ask DNS once more; the default is 30 s.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # A server that comes back is found within 0.6 s, for gRPC varies the pause by a fifth; the defaults are 1 s,
        # 20 s and 120 s. With at most 2 s the first batch took up to 2.18 s, with 1 s up to 0.97 s; but with 1 s a
        # restart of three one by one could leave one alone for a second. The second is how long an attempt may take.
        ("grpc.initial_reconnect_backoff_ms", 250),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 500),
    )
