#!/usr/bin/env bash
# HAProxy ends a silent stream as if it were complete, although its server answers pings; nginx ends only a frozen one.
#
# Versions: nginx 1.22.1 and HAProxy 2.6.12 (Debian 12), grpcio 1.85.1; seen 2026-11-29. Both proxies must be installed,
# otherwise this exits with 2.
#
# A stream of gRPC runs through a proxy whose time limit on its servers is 4 s (grpc_read_timeout, timeout server; the
# defaults are 60 s and none), and then nothing is sent on it. The server pings its clients each second, as does the
# client.
#   1. HAProxy counts only what belongs to the stream. It ends it after 4 s with an empty DATA frame that has
#      END_STREAM, and with no trailers: to HTTP/2 the response is complete. gRPC makes UNKNOWN of it, which no retry
#      policy has.
#   2. nginx counts the server's pings, and the stream lives on. Without keepalive on the server it would end as in 3.
#   3. When the server is frozen (SIGSTOP), both end it 4 s after the last ping or message, nginx with INTERNAL, HAProxy
#      with UNKNOWN. The client's keepalive sees nothing: the proxy answers its pings.
# So the silence that a protocol allows must be shorter than the limit of each proxy on the way; keepalive is no
# substitute.
#
# Prints how streams end, and after how many seconds.
#
# Seen:
#     silent, through HAProxy: UNKNOWN after 4.0 s
#     silent, through nginx: DEADLINE_EXCEEDED after 10.0 s (the client's own)
#     frozen, through HAProxy: UNKNOWN after 4.0 s
#     frozen, through nginx: INTERNAL after 5.0 s
set -euo pipefail

for program in nginx haproxy; do
  command -v "$program" >/dev/null || { echo "needs $program" >&2; exit 2; }
done
nginx -v 2>&1 | grep -o "nginx/[0-9.]*"
haproxy -v | grep -o "version [0-9.]*"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

cat >"$folder/main.py" <<'PYTHON'
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


async def serve(handlers: dict[str, Any], options: Iterable[tuple[str, Any]] = (), address: str = "127.0.0.1:0") -> Any:
    """Start a grpc.aio server of bytes: `{"Name": grpc.unary_unary_rpc_method_handler(…)}` is /test/Name.

    Returns the server, with its port as `port`.
    """
    server = grpc.aio.server(options=tuple(options))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    server.port = server.add_insecure_port(address)
    await server.start()
    return server


LIMIT_S = 4
DEADLINE_S = 10
PINGS = (
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
)
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{ grpc_pass grpc://127.0.0.1:{server}; grpc_read_timeout {limit}s; }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server {limit}s
frontend clients
  bind 127.0.0.1:{port} proto h2
  default_backend servers
backend servers
  server one 127.0.0.1:{server} proto h2
"""


async def serve_until_killed() -> None:
    async def stream(_request: bytes, _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        yield b"the only one"
        await asyncio.sleep(60)

    server = await serve({"Stream": grpc.unary_stream_rpc_method_handler(stream)}, PINGS)
    print(server.port, flush=True)
    await server.wait_for_termination()


async def end_of_stream(port: int) -> tuple[str, float]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", PINGS) as channel:
        call = channel.unary_stream("/test/Stream")(b"", timeout=DEADLINE_S, wait_for_ready=True)
        await call.read()
        began = time.monotonic()
        code = await call.code()
        return code.name, time.monotonic() - began


async def main() -> None:
    folder = sys.argv[1]
    processes = []
    server = await asyncio.create_subprocess_exec(sys.executable, "-W", "ignore", __file__, "server", stdout=-1)
    try:
        values = {"folder": folder, "server": int(await server.stdout.readline()), "limit": LIMIT_S}
        ports = {}
        for name, text, command in (("nginx", NGINX, ["-c"]), ("haproxy", HAPROXY, ["-db", "-f"])):
            with socket.create_server(("127.0.0.1", 0)) as reserved:
                ports[name] = reserved.getsockname()[1]
            path = Path(folder, name)
            path.write_text(text.format(port=ports[name], **values))
            processes.append(await asyncio.create_subprocess_exec(name, *command, path, stderr=-3))
        silent = {name: end_of_stream(port) for name, port in ports.items()}
        silent = dict(zip(silent, await asyncio.gather(*silent.values()), strict=True))
        streams = {name: asyncio.create_task(end_of_stream(port)) for name, port in ports.items()}
        await asyncio.sleep(1.5)
        server.send_signal(signal.SIGSTOP)
        frozen = dict(zip(streams, await asyncio.gather(*streams.values()), strict=True))
    finally:
        server.kill()
        for process in processes:
            process.terminate()
        await asyncio.gather(*(process.wait() for process in (server, *processes)))
    for what, ends, name, code in (
        ("silent, through HAProxy", silent, "haproxy", "UNKNOWN"),
        ("silent, through nginx", silent, "nginx", "DEADLINE_EXCEEDED"),
        ("frozen, through HAProxy", frozen, "haproxy", "UNKNOWN"),
        ("frozen, through nginx", frozen, "nginx", "INTERNAL"),
    ):
        seen, seconds = ends[name]
        expect(what, f"{seen} after {seconds:.1f} s", seen == code)


asyncio.run(serve_until_killed() if "server" in sys.argv else main())
PYTHON
GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s "$folder/main.py" "$folder"
