"""What no client of ours would send, and how it would not send it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from random import Random

import hpack
from support.raw_h2 import CALL, PREFACE

DATA, HEADERS, SETTINGS = 0, 1, 4
END_HEADERS = 4

METHODS = ("dockercoins.rng.v1.RngService/StreamRandomBytes", "dockercoins.hasher.v1.HasherService/Hash")
PATHS = ("/", "/events", "/api/history?seconds=60", "/static/page.js", "/metrics", "/readyz")
WRONG_HEADERS = (
    "Content-Length: 1000000000\r\n\r\nshort",
    "Content-Length: -1\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "\x00: \x01\r\n\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "X: " + "x" * 70_000 + "\r\n\r\n",
    "X: y\r\n" * 2_000 + "\r\n",
)

AT_ONCE = 24

# How long a connection is kept open after all was sent.
RESPONSE_LIMIT_S = 0.3


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1), perhaps with a wrong length."""
    size = struct.pack(">I", len(payload) if length is None else length)[1:]
    return size + struct.pack(">BBI", kind, flags, stream) + payload


BEGUN = PREFACE + frame(SETTINGS, 0, 0, b"")


def any_bytes(random: Random) -> bytes:
    return random.randbytes(random.choice((1, 9, 24, 100, 5_000, 60_000)))


def garbage_after_the_preface(random: Random) -> bytes:
    return random.choice((BEGUN[: random.randrange(1, len(BEGUN))], BEGUN + any_bytes(random)))


def wrong_frame(random: Random) -> bytes:
    """A frame that ends early, or is longer than allowed."""
    payload = random.randbytes(random.randrange(200))
    length = random.choice((len(payload) + 1, 16_384, 16_385, 2**24 - 1))
    return BEGUN + frame(random.randrange(16), random.randrange(256), random.choice((0, 1, 2**31 - 1)), payload, length)


def wrong_message(random: Random) -> bytes:
    """A call whose message has a wrong length, or is not compressed as its flag says."""
    message = random.randbytes(random.randrange(100))
    length = random.choice((len(message) + 1, max(0, len(message) - 1), 2**22 + 1, 2**32 - 1))
    headers = hpack.Encoder().encode({**CALL, ":path": f"/{random.choice(METHODS)}"})
    body = struct.pack(">BI", random.choice((0, 0, 1, 255)), length) + message
    return BEGUN + frame(HEADERS, END_HEADERS, 1, headers) + frame(DATA, random.choice((0, 1)), 1, body)


def wrong_request(random: Random) -> bytes:
    """HTTP/1.1 with a wrong header."""
    return f"GET {random.choice(PATHS)} HTTP/1.1\r\nHost: x\r\n{random.choice(WRONG_HEADERS)}".encode("latin-1")


def truncated_request(random: Random) -> bytes:
    whole = f"GET {random.choice(PATHS)} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n".encode()
    return whole[: random.randrange(1, len(whole))]


KINDS: tuple[Callable[[Random], bytes], ...] = (
    any_bytes,
    garbage_after_the_preface,
    wrong_frame,
    wrong_message,
    wrong_request,
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
    # A server may refuse, close or answer; what it may not do is checked elsewhere.
    async with room:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(garbage[:10])
                await asyncio.sleep(random.choice((0, 0.05)))
                writer.write(garbage[10:])
                if random.random() < 0.3:
                    writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESPONSE_LIMIT_S):
                        await reader.read()
                if random.random() < 0.5:  # it ends like a connection to a machine that is gone
                    connection: socket.socket = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
