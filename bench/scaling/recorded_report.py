"""The words with which a real worker's ledger sends a report, to be sent under other names.

A real `Ledger` sends one report to a real Redis through a relay that listens in, so what is measured with is what
workers send, whatever that becomes.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import hiredis

from bench.page.simulation import BITS, COINS
from chassis.endpoint_state import EndpointState
from worker_svc.ledger import Ledger
from worker_svc.pool.picker import ReplicaStats
from worker_svc.report import Report
from worker_svc.settings import WorkerSettings

LISTEN_LIMIT = 10.0
"""Seconds."""

HASHES = 2_000_000
"""Of a report: a second at full pace."""

FIRST_ARGUMENT = 3
"""Of a command's words, behind EVALSHA, the script and the number of keys: keys, then what ledger.lua lists."""


@dataclass(frozen=True)
class RecordedReport:
    """Words of the call that writes the report down; the one that applies it has the same up to the keys."""

    words: tuple[bytes, ...]
    worker: bytes

    def of(self, worker: bytes, sequence: int) -> bytes:
        """Both calls of another worker, now, encoded."""
        words = [word.replace(self.worker, worker) for word in self.words]
        arguments = FIRST_ARGUMENT + int(words[FIRST_ARGUMENT - 1])
        now = time.time_ns() // 1_000
        number = b"%d" % sequence
        words[arguments + 2], words[arguments + 3] = number, number
        words[arguments + 6], words[arguments + 7] = b"%d" % (now - 1_000_000), b"%d" % now
        words[arguments + 11] = b"%d" % now
        return _encoded(words) + _encoded(words[:arguments])


def _encoded(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def stats(service: str, backends: int) -> tuple[ReplicaStats, ...]:
    """What a pool saw of so many backends in a second."""
    latency = {bucket: 3 + bucket for bucket in range(36, 48)}
    each = sum(latency.values())
    return tuple(
        ReplicaStats(f"{service}-{n:012x}", f"10.0.0.{n}:50051", EndpointState.SERVING, each, latency)
        for n in range(backends)
    )


@contextlib.asynccontextmanager
async def _relay(port: int, heard: list[bytes]) -> AsyncIterator[int]:
    """Its port; what clients send to it goes to that port of this machine, and is heard."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, into: list[bytes]) -> None:
        while data := await reader.read(1 << 16):
            into.append(data)
            writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        tasks.add(asyncio.create_task(carry(reader, other_writer, heard)))
        tasks.add(asyncio.create_task(carry(other_reader, writer, [])))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
        await asyncio.wait_for(asyncio.gather(*tasks), LISTEN_LIMIT)


async def record(port: int, backends: int) -> RecordedReport:
    """A report of a worker with so many rngs and hashers, to the Redis at that port; no coin is for the wallet."""
    worker = "worker-0-00000000"
    heard: list[bytes] = []
    async with _relay(port, heard) as relay:
        settings = WorkerSettings(pace="full", redis_url=f"redis://127.0.0.1:{relay}")
        ledger = Ledger(settings, worker)
        now = time.time_ns() // 1_000
        report = Report(
            sequence=1,
            batch_size=65_536,
            hashes=HASHES,
            coins=HASHES >> BITS,
            wallet=(),
            begin_us=now - 1_000_000,
            end_us=now,
            end=time.monotonic(),
            stalled_since_us=0,
            waits_for="",
            seconds=1.0,
            backends={service: stats(service, backends) for service in ("rng", "hasher")},
            latest=tuple((f"{number:064x}", now / 1e6 - 0.01 * number) for number in range(COINS)),
        )
        running = asyncio.create_task(ledger.run())
        ledger.add(report)
        await asyncio.wait_for(ledger.settled(), LISTEN_LIMIT)
        running.cancel()
        await ledger.close()
    reader = hiredis.Reader()
    for data in heard:
        reader.feed(data)
    words: tuple[bytes, ...] = ()
    while (command := reader.gets()) is not False:
        if isinstance(command, list) and command[0] == b"EVALSHA" and len(command) > FIRST_ARGUMENT + int(command[2]):
            words = tuple(command)
    return RecordedReport(words, worker.encode())
