"""Real Redis servers on loopback that take over from one another: a master with Sentinels, and a cluster."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from signal import SIGKILL
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from chassis.redis.schema import CLUSTER_PREFIX, Keys
from local_run.embedded_redis import HOST
from support.free_port import free_port
from support.redis_server import TLS_HOST, RedisServer
from support.waiting import wait_until

# Of silence, after which a master counts as gone. With TLS, Redis 7's Sentinel takes less for a failure of the master
# that it has just made, to which it connects once a second.
DOWN_AFTER_MS = 2_000

REPLICA = ("--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1)


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; it does not yet where a server can't answer yet."""

    def holds() -> bool:
        with contextlib.suppress(RedisError, OSError):
            return bool(condition())
        return False

    wait_until(holds)


class Deployment(ABC):
    """Some servers, one of which takes our writes and has two replicas."""

    keys: Keys
    url: str
    servers: Sequence[RedisServer]
    # Those that decide which of the servers is the master.
    deciders: Sequence[RedisServer]

    def __init__(self, tls: Mapping[str, str] | None) -> None:
        """Encrypt with a certificate for localhost, given as settings, or with none."""
        self.tls = tls
        self.host, self.scheme = (HOST, "redis") if tls is None else (TLS_HOST, "rediss")

    @abstractmethod
    def start(self) -> None:
        """Start all servers, and wait until they have met."""

    @abstractmethod
    def hand_over(self) -> None:
        """Order that a replica takes over from a master that works."""

    @abstractmethod
    def named_by(self, decider: Any) -> object:
        """Return the port of the server that takes our writes, if this one names it."""

    @property
    def master(self) -> RedisServer:
        for decider in self.deciders:
            with contextlib.suppress(RedisError, OSError):
                named = str(self.named_by(decider.client()))
                for server in self.servers:
                    if named == str(server.port):
                        return server
        raise AssertionError("no server is named as the master")

    @property
    def replicas(self) -> list[RedisServer]:
        master, roles = str(self.master.port), [server.client().role() for server in self.servers]
        connected = [role[0] == "slave" and (str(role[2]), role[3]) == (master, "connected") for role in roles]
        return list(compress(self.servers, connected))

    def execute(self, *words: object) -> Any:
        """Have the master execute a command."""
        return self.master.client().execute_command(*words)

    def cut_off_replicas(self) -> list[RedisServer]:
        """Let the master go on alone: what it takes now is nowhere else. Return the replicas, which are frozen."""
        cut_off = self.replicas
        for replica in cut_off:
            replica.freeze()
        # What was on its way to them is still theirs; the rest goes with the connection.
        self.execute("CLIENT", "KILL", "TYPE", "replica")
        return cut_off

    def wait_for_takeover(self, old: RedisServer) -> None:
        """Wait until another is the master, by its own ROLE."""
        until(lambda: self.master is not old and self.execute("ROLE")[0] == "master")

    def stop(self) -> None:
        for server in (*self.servers, *self.deciders):
            server.stop(SIGKILL)


class _Sentinel(RedisServer):
    def __init__(self, folder: Path, host: str, master: RedisServer) -> None:
        super().__init__(folder, tls=master.tls)
        lines = {"port": self.port, "bind": HOST, "dir": folder, "logfile": folder / "redis.log", **self.tls_settings}
        if host == TLS_HOST:
            lines |= {"sentinel resolve-hostnames": "yes", "sentinel announce-hostnames": "yes"}
        lines["sentinel monitor"] = f"coins {host} {master.port} 2"
        lines["sentinel down-after-milliseconds"] = f"coins {DOWN_AFTER_MS}"
        lines["sentinel failover-timeout"] = "coins 3000"
        settings = folder / "sentinel.conf"
        settings.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        self._command = (master._command[0], str(settings), "--sentinel")

    def knows_of_all(self) -> bool:
        facts = self.client().sentinel_master("coins")
        return (facts["num-slaves"], facts["num-other-sentinels"]) == (2, 2)


class SentinelSet(Deployment):
    """A master, two replicas, and three Sentinels of whom two must agree."""

    def __init__(self, folder: Path, tls: Mapping[str, str] | None, program: str | None) -> None:
        super().__init__(tls)
        self.keys = Keys()
        options: tuple[object, ...] = (*REPLICA, "--replica-announce-ip", self.host)
        first = RedisServer(folder / "server-0", *options, tls=tls, program=program)
        options = (*options, "--replicaof", self.host, first.port)
        others = [RedisServer(folder / f"server-{number}", *options, tls=tls, program=program) for number in (1, 2)]
        self.servers = [first, *others]
        self.deciders = self.sentinels = [
            _Sentinel(folder / f"sentinel-{number}", self.host, first) for number in range(3)
        ]
        nodes = ",".join(f"{self.host}:{each.port}" for each in self.sentinels)
        self.url = f"{self.scheme}-sentinel://{nodes}/coins"

    def start(self) -> None:
        for server in (*self.servers, *self.sentinels):
            server.start()
        until(lambda: all(sentinel.knows_of_all() for sentinel in self.sentinels))
        until(lambda: len(self.replicas) == 2)

    def named_by(self, decider: Any) -> object:
        return decider.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "coins")[1]

    def hand_over(self) -> None:
        self.sentinels[0].client().execute_command("SENTINEL FAILOVER", "coins")


class Cluster(Deployment):
    """Three masters, who decide, and two replicas of the one that has our slot."""

    def __init__(self, folder: Path, tls: Mapping[str, str] | None, program: str | None) -> None:
        super().__init__(tls)
        self.keys = Keys(CLUSTER_PREFIX)
        self.slot = key_slot(self.keys.reports.encode())
        self.buses = [free_port() for _ in range(5)]
        options: tuple[object, ...] = (*REPLICA, "--cluster-enabled", "yes", "--cluster-replica-validity-factor", 0)
        options = (*options, "--cluster-node-timeout", DOWN_AFTER_MS, "--cluster-migration-barrier", 10)
        if tls is not None:
            hostname = ("--cluster-announce-hostname", self.host, "--cluster-preferred-endpoint-type", "hostname")
            options = (*options, *hostname)
        self.deciders = self.servers = [
            RedisServer(folder / f"node-{number}", *options, "--cluster-port", bus, tls=tls, program=program)
            for number, bus in enumerate(self.buses)
        ]
        self.url = f"{self.scheme}-cluster://{','.join(f'{self.host}:{each.port}' for each in self.servers[:3])}"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for server, (first, last) in zip(self.servers, ((0, 5_000), (5_001, 10_000), (10_001, 16_383)), strict=False):
            self.cluster_command(server, "ADDSLOTSRANGE", first, last)
        for number, server in enumerate(self.servers):
            self.cluster_command(server, "SET-CONFIG-EPOCH", number + 1)
            self.cluster_command(self.servers[0], "MEET", HOST, server.port, self.buses[number])
        until(lambda: all(len(server.client().cluster("NODES")) == len(self.servers) for server in self.servers))
        master = self.cluster_command(self.master, "MYID")
        for server in self.servers[3:]:
            self.cluster_command(server, "REPLICATE", master)
        until(lambda: all("cluster_state:ok" in str(self.cluster_command(server, "INFO")) for server in self.servers))
        until(lambda: len(self.replicas) == 2)

    def cluster_command(self, server: RedisServer, *words: object) -> Any:
        """Have a node execute a command about the cluster."""
        return server.client().execute_command("CLUSTER", *words)

    def named_by(self, decider: Any) -> object:
        ranges = decider.execute_command("CLUSTER SLOTS")
        return next((master[1] for first, last, master, *_ in ranges if first <= self.slot <= last), None)

    def hand_over(self) -> None:
        self.replicas[0].client().execute_command("CLUSTER FAILOVER")

    def move_slot(self) -> None:
        """Move our slot to a master without replicas, as `redis-cli --cluster reshard` does it."""
        source = self.master
        target = next(server for server in self.servers if server.client().role() == ["master", 0, []])
        source_id, target_id = self.cluster_command(source, "MYID"), self.cluster_command(target, "MYID")
        self.cluster_command(target, "SETSLOT", self.slot, "IMPORTING", source_id)
        self.cluster_command(source, "SETSLOT", self.slot, "MIGRATING", target_id)
        while keys := self.cluster_command(source, "GETKEYSINSLOT", self.slot, 1):
            for key in keys:
                source.client().execute_command("MIGRATE", HOST, target.port, key, 0, 5_000)
        for server in (target, source):
            self.cluster_command(server, "SETSLOT", self.slot, "NODE", target_id)
        until(lambda: self.master is target)
