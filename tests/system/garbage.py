"""What no client of ours would send, and how it would not send it: `SEED=…` repeats it, though never its timing."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from random import Random

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

METHODS = (
    "/dockercoins.rng.v1.RngService/GetRandomBytes",
    "/dockercoins.rng.v1.RngService/StreamRandomBytes",
    "/dockercoins.hasher.v1.HasherService/Hash",
    "/dockercoins.hasher.v1.HasherService/StreamHashes",
    "/grpc.health.v1.Health/Watch",
)
PATHS = ("/", "/json", "/events", "/api/history?seconds=60", "/static/page.js", "/metrics", "/readyz")

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4

AT_ONCE = 24

# How long a connection is kept open after all was sent.
RESPONSE_LIMIT_S = 0.3


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1), perhaps with a wrong length."""
    return (
        struct.pack(">I", len(payload) if length is None else length)[1:]
        + struct.pack(">BBI", kind, flags, stream)
        + payload
    )


def call(method: str) -> bytes:
    """The headers of a gRPC call, as literals that are not indexed (RFC 7541, 6.2.2)."""
    fields = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "x", "te": "trailers"}
    fields["content-type"] = "application/grpc"
    return b"".join(
        bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode() for name, value in fields.items()
    )


def raw(random: Random) -> bytes:
    """Bytes of any kind."""
    return random.randbytes(random.choice((1, 9, 24, 100, 5_000, 60_000)))


def preface_and_garbage(random: Random) -> bytes:
    """HTTP/2 as it begins, cut off or followed by anything."""
    begun = PREFACE + frame(SETTINGS, 0, 0, b"")
    return random.choice((begun[: random.randrange(1, len(begun))], begun + raw(random)))


def truncated_frame(random: Random) -> bytes:
    """A frame that ends early, or is longer than allowed."""
    payload = random.randbytes(random.randrange(200))
    length = random.choice((len(payload) + 1, 16_384, 16_385, 2**24 - 1))
    lying = frame(random.randrange(16), random.randrange(256), random.choice((0, 1, 2, 2**31 - 1)), payload, length)
    return PREFACE + frame(SETTINGS, 0, 0, b"") + lying


def lying_message(random: Random) -> bytes:
    """A call whose message has a wrong length, or is not compressed as its flag says."""
    message = random.randbytes(random.randrange(100))
    length = random.choice((len(message) + 1, max(0, len(message) - 1), 2**22 + 1, 2**32 - 1))
    body = struct.pack(">BI", random.choice((0, 0, 1, 255)), length) + message
    headers = frame(HEADERS, END_HEADERS, 1, call(random.choice(METHODS)))
    return PREFACE + frame(SETTINGS, 0, 0, b"") + headers + frame(DATA, random.choice((0, END_STREAM)), 1, body)


def request(random: Random) -> bytes:
    """HTTP/1.1 with something wrong about it."""
    head = f"GET {random.choice(PATHS)} HTTP/1.1\r\nHost: x\r\n"
    wrong = random.choice(
        (
            "Content-Length: 1000000000\r\n\r\nshort",
            "Content-Length: -1\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "\x00: \x01\r\n\r\n",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "X: " + "x" * 70_000 + "\r\n\r\n",
            "".join(f"X-{number}: y\r\n" for number in range(2_000)) + "\r\n",
            "Accept-Encoding: " + "gzip;q=9," * 500 + "\r\n\r\n",
        )
    )
    return (head + wrong).encode("latin-1")


def truncated_request(random: Random) -> bytes:
    """HTTP/1.1 that ends somewhere."""
    whole = f"GET {random.choice(PATHS)} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n".encode()
    return whole[: random.randrange(1, len(whole))]


KINDS: tuple[Callable[[Random], bytes], ...] = (
    raw,
    preface_and_garbage,
    truncated_frame,
    lying_message,
    request,
    truncated_request,
)


async def send_all(seed: int, ports: list[int], each: int) -> None:
    """Send garbage of each kind to each port, in any order, and leave each connection in one of several rude ways."""
    random = Random(seed)
    attempts = [(port, kind) for port in ports for kind in KINDS for _ in range(each)]
    random.shuffle(attempts)
    room = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for number, (port, kind) in enumerate(attempts):
            group.create_task(_send(room, port, kind(random), Random(f"{seed} {number}")))


async def _send(room: asyncio.Semaphore, port: int, garbage: bytes, random: Random) -> None:
    # A server may refuse, cut off or answer; what it may not do is checked elsewhere.
    async with room:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                one_by_one = len(garbage) < 100 and random.random() < 0.3
                for part in (bytes((byte,)) for byte in garbage) if one_by_one else (garbage,):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01 * one_by_one)
                if random.random() < 0.3:
                    writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESPONSE_LIMIT_S):
                        await reader.read()
                if random.random() < 0.5:  # it ends as a connection whose machine is gone
                    connection: socket.socket = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
