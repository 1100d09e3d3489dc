"""What both ends of a connection have in common: names of metadata, and arguments of channels and servers.

Arguments are here if they differ from gRPC's defaults, each with its reason; their names are those of
grpc/impl/channel_arg_names.h. The measurements were made with grpcio 1.85 in containers.
"""

import json

Options = tuple[tuple[str, int | str], ...]

# Initial metadata of a stream: the name of its server, which is its INSTANCE.
SERVED_BY = "served-by"
# Metadata of a stream, for both sides' logs: the client's name, and a number that is unique among the client's streams.
CLIENT_ID = "client-id"
STREAM_ID = "stream-id"
# Metadata of a single call, and a field of a stream's requests: the client's span.
TRACEPARENT = "traceparent"

# The longest name of an instance, in characters; the other end may send anything.
MAX_NAME = 63

_KEEPALIVE_TIME_MS = 5_000
_PING_TIMEOUT_MS = 2_000

# Connections per server. A further one is closed before any of its bytes are read. A worker has one connection to each
# server. An idle connection uses 16 KiB.
MAX_CONNECTIONS = 1_024

# Concurrent streams per connection. gRPC's own clients wait beyond that, but many of the streams that wait are refused
# when others end (findings/calls-beyond-max-streams-fail.sh). A worker has two, and two more for a moment after the
# server reports NOT_SERVING. An idle stream uses 22 KiB.
MAX_STREAMS = 256

# Metadata per call. gRPC refuses some of the calls with more than this, and all with more than twice as much. Ours have
# 200 bytes.
_MAX_METADATA_BYTES = 8 * 1024

SERVER: Options = (
    # With the default a second server takes the same port in silence, and connections go to either.
    ("grpc.so_reuseport", 0),
    # Clients ping every 5 s; a server that allows less would close their connections with "too many pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    # A server notices a client that froze or was cut off as fast as a client notices a server.
    ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
    # The third ping that comes too early ends the connection. This is gRPC's default, and the interval above is for it.
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * _MAX_METADATA_BYTES),
    # A connection that has not begun to speak HTTP/2 by then is closed. The default is two minutes.
    ("grpc.server_handshake_timeout_ms", 5_000),
    # A connection without a call is closed after this time, or up to twice as long. A worker's connection always has a
    # call, the watch of health.
    ("grpc.max_connection_idle_ms", 30_000),
    # What is not read yet is at most a message and 64 KiB per stream. With the default it is up to 4 MiB per stream: a
    # client with 40 streams could make it 340 MiB (measured). Batches of 256 and 65,536 are as fast either way.
    ("grpc.http2.bdp_probe", 0),
)


# By default the core sends even loopback addresses to the proxy that http_proxy, https_proxy or grpc_proxy names, and
# for a target of two addresses it sends the proxy "CONNECT [a,b]:443", which no no_proxy matches.
DIRECT: Options = (("grpc.enable_http_proxy", 0),)


def client(service: str, authority: str | None = None) -> Options:
    """Return the arguments of a channel to a service with this full name, which its servers must register for health.

    The authority, NAME:PORT, is the name of its servers, if the channel's target does not contain it.
    """
    policy = {
        # One address, one endpoint: the default would send every stream to the first.
        "loadBalancingConfig": [{"round_robin": {}}],
        # A server that drains reports NOT_SERVING here, and gets no new streams.
        "healthCheckConfig": {"serviceName": service},
    }
    named: Options = ()
    if authority is not None:
        host = authority.rpartition(":")[0].strip("[]")
        named = (("grpc.default_authority", authority), ("grpc.ssl_target_name_override", host))
    return (
        ("grpc.service_config", json.dumps(policy)),
        *named,
        *DIRECT,
        # Two channels with equal arguments would share connections, and health checks on shared connections crash
        # gRPC's core (1.85: a segmentation fault in one of two runs with a new channel every 1.8 s).
        ("grpc.use_local_subchannel_pool", 1),
        # A frozen or cut-off peer shows after both of these, in 2.1 to 6.1 s; with grpc.keepalive_timeout_ms instead
        # of the second it took 60 s.
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
        # With the default, a client pings once a minute after two pings without data: a server frozen after 20 s of
        # silence was noticed after 48 s.
        ("grpc.http2.max_pings_without_data", 0),
        # How soon a channel whose connections drop may look its name up once more; the default is 30 s.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # A server that comes back is found within 0.6 s, for gRPC varies the pause by a fifth; the defaults are 1 s,
        # 20 s and 120 s. With a pause of at most 2 s the first batch took up to 2.18 s, with 1 s up to 0.97 s. But with
        # 1 s, a restart of three replicas one by one could leave one alone for a second. The second option is how long
        # an attempt may take.
        ("grpc.initial_reconnect_backoff_ms", 250),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 500),
    )
