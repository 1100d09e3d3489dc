"""Real Redis servers on loopback that take over from one another: a master with Sentinels, and a cluster."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from chassis.redis.key_names import CLUSTER_PREFIX, KeyNames
from local_run.embedded_redis import HOST
from support import redis_encryption
from support.free_port import free_port
from support.redis_encryption import RedisEncryption
from support.redis_server import RedisServer

DOWN_AFTER = 0.6
"""Seconds of silence after which a master counts as gone."""

DOWN_AFTER_ENCRYPTED = 2.0
"""The same where it takes long to connect: Redis 7's Sentinel tries once a second, and takes less for another failure,
of the master that it has just made (measured: one in six on a busy machine with 0.6)."""

PATIENCE = 20.0
"""Seconds until servers have found one another, or a replica has taken over."""

REPLICA = ("--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; that it can't be asked yet is no reason to give up."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(RedisError, OSError):
            if condition():
                return
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


class Deployment(ABC):
    """Some servers, one of which takes our writes."""

    keys: KeyNames
    url: str

    def __init__(self, encryption: RedisEncryption | None = None) -> None:
        self.encryption = encryption
        self.servers: list[RedisServer] = []
        self._host, self._scheme = (HOST, "redis") if encryption is None else (redis_encryption.HOST, "rediss")

    @property
    @abstractmethod
    def master(self) -> RedisServer:
        """Whoever takes our writes, by the word of those who decide that."""

    @property
    def replicas(self) -> list[RedisServer]:
        """Those that follow it and would take over from it."""
        return [server for server in self.servers if self._follows(server, self.master)]

    def _follows(self, server: RedisServer, master: RedisServer) -> bool:
        with contextlib.suppress(RedisError, OSError):
            role: Any = server.client().role()
            return role[0] == "slave" and int(role[2]) == master.port and role[3] == "connected"
        return False

    def ask(self, *words: object) -> Any:
        """What the master answers to a command."""
        return self.master.client().execute_command(*words)

    def server(self, port: int) -> RedisServer:
        return next(server for server in self.servers if server.port == port)

    def cut_off_replicas(self) -> list[RedisServer]:
        """Let the master go on alone: what it takes now is nowhere else. Those that were cut off are frozen."""
        cut_off = self.replicas
        for replica in cut_off:
            replica.freeze()
        # What was on its way to them is still theirs; the rest goes with the connection.
        self.ask("CLIENT", "KILL", "TYPE", "replica")
        return cut_off

    def until_taken_over(self, old: RedisServer) -> None:
        """Wait until another is the master, and says so itself."""
        until(lambda: self.master is not old and self.ask("ROLE")[0] == "master", "a replica takes over")

    def stop(self) -> None:
        for server in self.servers:
            server.stop(SIGKILL)


class _Sentinel(RedisServer):
    def __init__(self, folder: Path, master: RedisServer, quorum: int) -> None:
        super().__init__(folder, encryption=master.encryption)
        own: dict[str, object] = {"port": self.port, "bind": HOST, "dir": folder, "logfile": folder / "redis.log"}
        host, down_after = HOST, DOWN_AFTER
        if self.encryption is not None:
            own.update(self.encryption.settings(self.port))
            own.update({"sentinel resolve-hostnames": "yes", "sentinel announce-hostnames": "yes"})
            host, down_after = redis_encryption.HOST, DOWN_AFTER_ENCRYPTED
        own.update(
            {
                "sentinel monitor": f"coins {host} {master.port} {quorum}",
                "sentinel down-after-milliseconds": f"coins {round(down_after * 1_000)}",
                "sentinel failover-timeout": "coins 3000",
            }
        )
        settings = folder / "sentinel.conf"
        settings.write_text("".join(f"{name} {value}\n" for name, value in own.items()))
        self._command = (self._command[0], str(settings), "--sentinel")


class SentinelSet(Deployment):
    """A master, two replicas, and three Sentinels of whom two must agree."""

    def __init__(self, folder: Path, encryption: RedisEncryption | None = None) -> None:
        super().__init__(encryption)
        self.keys = KeyNames()
        options = (*REPLICA, "--replica-announce-ip", self._host)
        first = RedisServer(folder / "server-0", *options, encryption=encryption)
        self.servers.append(first)
        for number in (1, 2):
            follow = ("--replicaof", self._host, first.port)
            self.servers.append(RedisServer(folder / f"server-{number}", *options, *follow, encryption=encryption))
        self.sentinels = [_Sentinel(folder / f"sentinel-{number}", first, 2) for number in range(3)]
        nodes = ",".join(f"{self._host}:{each.port}" for each in self.sentinels)
        self.url = f"{self._scheme}-sentinel://{nodes}/coins"

    def start(self) -> None:
        first, *others = self.servers
        for server in self.servers:
            server.start()
        until(lambda: all(self._follows(each, first) for each in others), "replicas follow")
        for sentinel in self.sentinels:
            sentinel.start()
        for sentinel in self.sentinels:
            until(partial(_knows_of_all, sentinel.client()), "Sentinels know of all")

    @property
    def master(self) -> RedisServer:
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisError, OSError):
                told: Any = sentinel.client()
                return self.server(int(told.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "coins")[1]))
        raise AssertionError("no Sentinel answers")

    def stop(self) -> None:
        super().stop()
        for sentinel in self.sentinels:
            sentinel.stop(SIGKILL)


def _knows_of_all(sentinel: Any) -> bool:
    flat = sentinel.execute_command("SENTINEL", "MASTER", "coins")
    facts = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    return (str(facts["num-slaves"]), str(facts["num-other-sentinels"])) == ("2", "2")


class Cluster(Deployment):
    """Three masters, who decide, and two replicas of the one that has our slot."""

    def __init__(self, folder: Path, encryption: RedisEncryption | None = None) -> None:
        super().__init__(encryption)
        self.keys = KeyNames(CLUSTER_PREFIX)
        self.slot = key_slot(self.keys.reports.encode())
        self.buses = [free_port() for _ in range(5)]
        for number, bus in enumerate(self.buses):
            options = ("--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-replica-validity-factor", 0)
            timeout = ("--cluster-node-timeout", round(DOWN_AFTER * 1_000))
            name = ("--cluster-announce-hostname", self._host, "--cluster-preferred-endpoint-type", "hostname")
            named = () if encryption is None else name
            node = RedisServer(folder / f"node-{number}", *REPLICA, *options, *timeout, *named, encryption=encryption)
            self.servers.append(node)
        self.url = f"{self._scheme}-cluster://{','.join(f'{self._host}:{each.port}' for each in self.servers[:3])}"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        third = 16_384 // 3
        bounds = [(0, third), (third + 1, 2 * third), (2 * third + 1, 16_383)]
        ours = next(number for number, (first, last) in enumerate(bounds) if first <= self.slot <= last)
        for number, (first, last) in enumerate(bounds):
            self.tell(self.servers[number], "ADDSLOTSRANGE", first, last)
        for number, server in enumerate(self.servers):
            self.tell(server, "SET-CONFIG-EPOCH", number + 1)
            if number:
                self.tell(self.servers[0], "MEET", HOST, server.port, self.buses[number])
        for server in self.servers[3:]:
            until(partial(self._all_known, server), "nodes know of all")
            self.tell(server, "REPLICATE", self.tell(self.servers[ours], "MYID"))
        for server in self.servers:
            until(partial(self._is_whole, server), "the cluster is whole")
        until(lambda: len(self.replicas) == 2, "replicas follow")

    def tell(self, server: RedisServer, *words: object) -> Any:
        return server.client().execute_command("CLUSTER", *words)

    def _all_known(self, server: RedisServer) -> bool:
        told: Any = server.client()
        return len(told.cluster("NODES")) == len(self.servers)

    def _is_whole(self, server: RedisServer) -> bool:
        told: Any = server.client()
        return "cluster_state:ok" in str(told.execute_command("CLUSTER", "INFO")) and self._all_known(server)

    @property
    def master(self) -> RedisServer:
        for server in self.servers:
            with contextlib.suppress(RedisError, OSError):
                told: Any = server.client()
                for first, last, master, *_ in told.execute_command("CLUSTER", "SLOTS"):
                    if first <= self.slot <= last and "fail" not in self._flags(server, master[2]):
                        return self.server(int(master[1]))
        raise AssertionError("nobody knows who has our slot")

    def _flags(self, server: RedisServer, node: Any) -> str:
        told: Any = server.client()
        lines = str(told.execute_command("CLUSTER", "NODES")).splitlines()
        return next((line.split()[2] for line in lines if str(node) in line), "")


@contextmanager
def deployed(
    kind: type[SentinelSet] | type[Cluster], folder: Path, encryption: RedisEncryption | None = None
) -> Iterator[SentinelSet | Cluster]:
    """Servers that are ended with the context."""
    deployment = kind(folder, encryption)
    try:
        deployment.start()
        yield deployment
    finally:
        for server in deployment.servers:
            server.send(SIGCONT)
        deployment.stop()
