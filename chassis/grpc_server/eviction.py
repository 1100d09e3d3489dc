"""Closes connections of clients that take more than there is for one, where gRPC has no bound for it.

That is when one address has too many connections or calls (those included whose request never comes, which no method
sees), and when memory runs short, for half a message of 2 MiB on each of many streams is nobody's but gRPC's.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.grpc_options import MAX_CONNECTIONS
from chassis.grpc_server import admission, memory
from chassis.grpc_server.admission import Admission
from chassis.grpc_server.connections import Connections, descriptors
from chassis.grpc_server.fair_queue import address_of
from chassis.log import ThrottledLogger

MAX_CONNECTIONS_OF_AN_ADDRESS = MAX_CONNECTIONS // 2
"""One address may be that of many clients, and still leaves room for others."""

MAX_CALLS_OF_AN_ADDRESS = admission.MAX_CALLS_OF_AN_ADDRESS + 512
"""Those included whose request never comes. Of the others, none more than without these 512 is let in."""

MAX_MEMORY = 1024 * 1024 * 1024
"""Bytes, where the container may not have less. Ten workers with the largest batches make a hasher 650 MiB large."""

HIGH_WATER = 0.75
"""Part of the memory from where connections are closed: what comes in between two looks must find room above."""

MEMORY_INTERVALS = (0.1, 1.0)
"""Seconds between two looks at memory, at least and at most: ten a second would be a twentieth of what a server does at
the classic pace."""

INFLOW = 1_000_000_000
"""Bytes a second that one client can send on loopback."""

CROWD_INTERVAL = 1.0
"""Seconds between two looks at how many there are."""

CROWD = MAX_CALLS_OF_AN_ADDRESS // 2
"""Calls from which it is looked whose they are, which takes up to 0.7 s of a thread with a thousand connections."""

RELIEF_INTERVAL = 0.5
"""Seconds that memory is given to come back before another connection is closed."""

GROWTH = 8 * 1024 * 1024
"""Bytes beyond the least it ever had from which a process looks what it can give back; less is not worth a look."""

RETURN_INTERVAL = 2.0
RETURN_INTERVAL_IN_VAIN = 32.0
"""Seconds between two such looks, of some milliseconds each: the pause doubles from the one to the other while there is
nothing to give back. It begins anew when half the calls have ended."""

MANY_ENDED = 16
"""Calls that count as half of them at least; with a few workers they come and go by twos."""


class Eviction(Collector):
    """Looks after a server, again and again."""

    def __init__(self, admission: Admission, connections: Connections) -> None:
        self._admission = admission
        self._connections = connections
        self._return_memory = memory.Returning()
        self._most = int(HIGH_WATER * memory.limit(MAX_MEMORY))
        self._evicted: Counter[str] = Counter(connections=0, calls=0, memory=0)
        self._log = ThrottledLogger("connections closed")

    async def look_at_memory(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        least = memory.resident()
        most_calls, pause, due = 0, RETURN_INTERVAL, loop.time()
        while True:
            shortest, longest = MEMORY_INTERVALS
            await asyncio.sleep(min(max(shortest, (self._most - memory.resident()) / INFLOW), longest))
            resident, now = memory.resident(), loop.time()
            least = min(least, resident)
            most_calls = max(most_calls, self._admission.open)
            if most_calls - self._admission.open > max(MANY_ENDED, most_calls // 2):
                most_calls, pause, due = self._admission.open, RETURN_INTERVAL, min(due, now + RETURN_INTERVAL)
            if resident > self._most:
                self._return_memory()
                if (resident := memory.resident()) > self._most:
                    await self._relieve(resident)
                    await asyncio.sleep(RELIEF_INTERVAL)
            elif resident > least + GROWTH and now > due:
                self._return_memory()
                in_vain = resident - memory.resident() < GROWTH
                pause = min(2 * pause, RETURN_INTERVAL_IN_VAIN) if in_vain else RETURN_INTERVAL
                due = now + pause

    async def _relieve(self, resident: int) -> None:
        """Close the connection with the most streams, of the address with the most."""
        streams = await asyncio.to_thread(self._connections.open_streams)
        if streams:
            by_address = _by_address(streams)
            largest = max(streams, key=lambda peer: (by_address[address_of(peer)], streams[peer]))
            self._close("memory", [largest], streams=streams[largest], resident=resident, most=self._most)

    async def look_at_crowd(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(CROWD_INTERVAL)
            self._log.flush()
            with contextlib.suppress(OSError):  # out of file descriptors
                await self._look_at_crowd()

    async def _look_at_crowd(self) -> None:
        if descriptors() > MAX_CONNECTIONS_OF_AN_ADDRESS:
            peers = await asyncio.to_thread(self._connections.peers)
            self._close_beyond("connections", dict.fromkeys(peers, 1), MAX_CONNECTIONS_OF_AN_ADDRESS)
        if self._admission.open > CROWD:
            streams = await asyncio.to_thread(self._connections.open_streams)
            self._close_beyond("calls", streams, MAX_CALLS_OF_AN_ADDRESS)

    def _close_beyond(self, bound: str, amounts: dict[str, int], most: int) -> None:
        """Close connections, those with the largest amounts first, until no address has more than the most."""
        by_address = _by_address(amounts)
        closing = []
        for peer in sorted(amounts, key=amounts.__getitem__, reverse=True):
            if by_address[address_of(peer)] > most:
                by_address[address_of(peer)] -= amounts[peer]
                closing.append(peer)
        if closing:
            self._close(bound, closing, most=most)

    def _close(self, bound: str, peers: list[str], **fields: object) -> None:
        self._evicted[bound] += self._connections.shut(peers)
        self._log.log(bound=bound, peer=peers[0], connections=len(peers), **fields)

    def close(self) -> None:
        """Say what is not yet said."""
        self._log.close()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        yield GaugeMetricFamily(
            "dockercoins_server_calls",
            "Calls that are open, also those whose request has not come",
            self._admission.open,
        )
        refused = CounterMetricFamily(
            "dockercoins_server_refused_calls",
            "Calls refused with RESOURCE_EXHAUSTED: too many of one `address`, or of `all`",
            labels=["bound"],
        )
        for bound, calls in self._admission.refused.items():
            refused.add_metric([bound], calls)
        yield refused
        closed = CounterMetricFamily(
            "dockercoins_server_closed_connections",
            "Connections closed on clients that had too many `connections` or `calls`, or when `memory` ran short",
            labels=["bound"],
        )
        for bound, connections in self._evicted.items():
            closed.add_metric([bound], connections)
        yield closed


def _by_address(amounts: dict[str, int]) -> Counter[str]:
    total: Counter[str] = Counter()
    for peer, amount in amounts.items():
        total[address_of(peer)] += amount
    return total
