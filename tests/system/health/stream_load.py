"""A program that keeps a server busy with batches as large as they get, on 4 streams. It prints when that has begun
and how many were answered.

A process of its own, so that what it costs its client does not show in what others measure.
"""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest

STREAMS = 4
WINDOW = 2
"""Batches unanswered on each stream."""
COUNT = 65_536
CALLS = {
    "hasher": (
        "/dockercoins.hasher.v1.HasherService/StreamHashes",
        StreamHashesRequest(data=bytes(COUNT * 32), message_size=32),
    ),
    "rng": ("/dockercoins.rng.v1.RngService/StreamRandomBytes", StreamRandomBytesRequest(count=COUNT, size=32)),
}


def load(service: str, port: int, seconds: float) -> int:
    method, message = CALLS[service]
    request = message.SerializeToString()
    until = time.monotonic() + seconds
    answered = [0] * STREAMS
    begun = threading.Event()

    def requests(window: threading.Semaphore) -> Iterator[bytes]:
        while window.acquire() and time.monotonic() < until:
            yield request

    def run(stream: int, channel: Any) -> None:
        window = threading.Semaphore(WINDOW)
        for _ in channel.stream_stream(method)(requests(window)):
            begun.set()
            answered[stream] += 1
            window.release()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        threads = [threading.Thread(target=run, args=(stream, channel)) for stream in range(STREAMS)]
        for thread in threads:
            thread.start()
        begun.wait()
        print("begun", flush=True)  # noqa: T201 - for whoever measures
        for thread in threads:
            thread.join()
    return sum(answered)


if __name__ == "__main__":
    print(load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))  # noqa: T201 - its one result
