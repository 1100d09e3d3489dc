"""What rng, hasher and worker say of the same work, as real processes, and what the worker says of trouble."""

import signal
from dataclasses import dataclass
from functools import partial

import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.scrape import OPENMETRICS, Samples, scrape
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from system.worker.test_worker_process import hashes_in, until

pytestmark = pytest.mark.pair(reason="workers take all the CPU there is")

BATCH_SIZE = 256
WINDOW = 4


@dataclass
class Told:
    """A process, and what it says of itself."""

    process: ServiceProcess
    metrics_port: int

    @property
    def now(self) -> Samples:
        return scrape(self.metrics_port)


class Mine:
    """One worker, one rng, and some hashers."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer, hashers: int = 1, **worker: object) -> None:
        self._processes = processes
        self.rng = self._start("rng")
        self.hashers = [self._start("hasher", INSTANCE=f"hasher-{number}") for number in range(hashers)]
        self.worker = self._start(
            "worker",
            REDIS_URL=redis.url,
            RNG_TARGET=local_target(self.rng.process),
            HASHER_TARGET=local_target(*(hasher.process for hasher in self.hashers)),
            BATCH_SIZE=BATCH_SIZE,
            WINDOW_SIZE=WINDOW,
            **worker,
        )
        until(lambda: hashes_in(redis) > 0)
        until(lambda: self.worker.now("dockercoins_worker_backends", service="hasher") == hashers)

    def _start(self, name: str, **env: object) -> Told:
        port = free_port()
        told = Told(self._processes.start(name, PACE="full", METRICS_PORT=port, **env), port)
        told.process.wait_until_started()
        return told


@pytest.fixture
def mine(processes: ServiceProcesses, redis: RedisServer) -> Mine:
    return Mine(processes, redis, REPORT_INTERVAL=0.2)


def rpc(samples: Samples, side: str, name: str, method: str) -> float:
    return samples.total(f"grpc_{side}_{name}_total", grpc_method=method, grpc_type="bidi_stream")


def check_messages(worker: Samples, server: Samples, method: str) -> bool:
    """Whether both sides have counted the same messages."""
    return all(
        rpc(worker, "client", f"msg_{one}", method) == rpc(server, "server", f"msg_{other}", method) > 0
        for one, other in (("sent", "received"), ("received", "sent"))
    )


def test_all_count_the_same_work(mine: Mine, redis: RedisServer) -> None:
    """Each server is looked at while the other one is frozen, so that it has nothing to do."""
    hasher = mine.hashers[0]
    hasher.process.send(signal.SIGSTOP)
    until(lambda: check_messages(mine.worker.now, mine.rng.now, "StreamRandomBytes"))
    rng = mine.rng.now
    batches = rpc(rng, "server", "msg_sent", "StreamRandomBytes")
    assert rng("dockercoins_rng_bytes_total") == batches * BATCH_SIZE * 32
    until(lambda: mine.worker.now("dockercoins_worker_hashes_total") == hashes_in(redis))
    hasher.process.send(signal.SIGCONT)
    until(lambda: mine.rng.now("dockercoins_rng_bytes_total") > rng("dockercoins_rng_bytes_total"))

    mine.rng.process.send(signal.SIGSTOP)
    until(lambda: check_messages(mine.worker.now, hasher.now, "StreamHashes"))
    until(lambda: mine.worker.now("dockercoins_worker_hashes_total") == hashes_in(redis))
    worker, served = mine.worker.now, hasher.now
    hashes = worker("dockercoins_worker_hashes_total")
    assert hashes == served("dockercoins_hasher_hashes_total") == hashes_in(redis)
    assert worker("dockercoins_worker_batches_total") * BATCH_SIZE == hashes
    assert worker("dockercoins_worker_coins_total") == int(redis.client().get("coins"))
    answered = worker("dockercoins_worker_answered_batches_total", service="hasher", backend="hasher-0")
    assert answered * BATCH_SIZE == hashes
    assert worker("dockercoins_worker_unreported_hashes") == 0
    mine.rng.process.send(signal.SIGCONT)


def test_one_look_is_true_in_itself_while_it_mines(mine: Mine) -> None:
    for _ in range(20):
        worker = mine.worker.now
        batches = worker("dockercoins_worker_batches_total")
        assert worker("dockercoins_worker_batch_seconds_count", stage="total") == batches > 0
        # Each batch that is counted has been hashed, and each that was hashed had its random bytes.
        hashed = worker("dockercoins_worker_batch_seconds_count", stage="hasher")
        random = worker("dockercoins_worker_batch_seconds_count", stage="rng")
        assert batches == hashed <= random <= batches + WINDOW
        assert 0 <= worker("dockercoins_worker_in_flight_batches") <= WINDOW
        owed = worker.total("dockercoins_worker_owed_batches")
        assert 0 <= owed <= WINDOW
        assert worker("dockercoins_worker_window_batches") == WINDOW
        assert worker("dockercoins_worker_batch_size") == BATCH_SIZE
        assert worker("dockercoins_ready") == 1
        total = worker("dockercoins_worker_batch_seconds_sum", stage="total")
        assert 0 < worker("dockercoins_worker_batch_seconds_sum", stage="hasher") < total


def test_streams_are_counted_as_they_end(mine: Mine) -> None:
    """All of a polite rotation are OK on both sides."""
    labels = {"grpc_method": "StreamHashes", "grpc_code": "OK"}
    until(lambda: mine.worker.now.total("grpc_client_handled_total", **labels) >= 4)
    worker, hasher = mine.worker.now, mine.hashers[0].now
    for samples, side in ((worker, "client"), (hasher, "server")):
        ended = samples.total(f"grpc_{side}_handled_total", grpc_method="StreamHashes")
        assert ended == samples.total(f"grpc_{side}_handled_total", **labels) >= 4
        assert rpc(samples, side, "started", "StreamHashes") >= ended
        assert samples.total(f"grpc_{side}_handling_seconds_count", grpc_method="StreamHashes") == ended


def test_batches_of_a_killed_backend_are_asked_again(processes: ServiceProcesses, redis: RedisServer) -> None:
    mine = Mine(processes, redis, hashers=2)
    hasher = mine.hashers[0].process
    # Frozen, it owes something for certain.
    hasher.send(signal.SIGSTOP)
    until(lambda: mine.worker.now("dockercoins_worker_owed_batches", service="hasher", backend="hasher-0") > 0)
    hasher.kill()
    again = {"service": "hasher", "cause": "broken"}
    until(lambda: mine.worker.now("dockercoins_worker_asked_again_total", **again) > 0)
    until(lambda: mine.worker.now("dockercoins_worker_backends", service="hasher") == 1)
    worker = mine.worker.now
    assert worker("dockercoins_worker_owed_batches", service="hasher", backend="hasher-0") == 0
    assert worker.total("grpc_client_handled_total", grpc_method="StreamHashes", grpc_code="UNAVAILABLE") > 0
    assert worker("dockercoins_worker_asked_again_total", service="rng", cause="broken") == 0


def test_batches_of_a_frozen_backend_are_late_and_asked_of_another(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    mine = Mine(processes, redis, hashers=2)
    frozen = {"service": "hasher", "backend": "hasher-0"}
    other = {"service": "hasher", "backend": "hasher-1"}
    mine.hashers[0].process.send(signal.SIGSTOP)

    def all_it_owes_is_late() -> bool:
        worker = mine.worker.now
        late = worker("dockercoins_worker_late_batches_total", **frozen)
        return late == worker("dockercoins_worker_owed_batches", **frozen) > 0

    until(all_it_owes_is_late)
    until(lambda: mine.worker.now("dockercoins_worker_asked_again_total", service="hasher", cause="late") > 0)
    worker = mine.worker.now
    late = worker("dockercoins_worker_late_batches_total", **frozen)
    assert worker("dockercoins_worker_asked_again_total", service="hasher", cause="late") <= late <= WINDOW
    before = worker("dockercoins_worker_answered_batches_total", **other)
    until(lambda: mine.worker.now("dockercoins_worker_answered_batches_total", **other) > before)
    line = mine.worker.process.wait_for(r"late, asked of a second backend (.*)")[1]
    assert all(f"{name}=" in line for name in ("batch", "stream"))
    assert "backend=hasher-0" in line
    assert "second=hasher-1" in line
    mine.hashers[0].process.send(signal.SIGCONT)


def test_reports_wait_while_redis_is_away_and_all_are_sent_when_it_is_back(mine: Mine, redis: RedisServer) -> None:
    redis.stop()
    until(lambda: mine.worker.now("dockercoins_worker_unreported_hashes") > 0)
    before = mine.worker.now
    until(
        lambda: (
            mine.worker.now("dockercoins_worker_unreported_hashes") > before("dockercoins_worker_unreported_hashes")
            and mine.worker.now("dockercoins_worker_reports_resent_total") > 0
        )
    )
    assert mine.worker.now("dockercoins_worker_reports_sent_total") == before("dockercoins_worker_reports_sent_total")
    redis.start()
    until(lambda: mine.worker.now("dockercoins_worker_unreported_hashes") == 0)
    mine.rng.process.send(signal.SIGSTOP)
    until(lambda: mine.worker.now("dockercoins_worker_hashes_total") == hashes_in(redis))
    assert mine.worker.now("dockercoins_worker_unreported_hashes") == 0
    sent = mine.worker.now("dockercoins_worker_reports_sent_total")
    assert redis.client().xlen("reports") in {sent, sent + 1}  # one may come between the two looks
    assert mine.worker.now("dockercoins_worker_redis_seconds_count") >= sent


def has_looked(told: Told) -> bool:
    return told.now("dockercoins_event_loop_lag_seconds_count") > 0


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
def test_all_services_speak_both_formats(mine: Mine, accept: str) -> None:
    for told, name in ((mine.rng, "rng_bytes"), (mine.hashers[0], "hasher_hashes"), (mine.worker, "worker_hashes")):
        until(partial(has_looked, told))
        samples = scrape(told.metrics_port, accept)
        assert samples(f"dockercoins_{name}_total") > 0
        assert all(family.documentation for family in samples.families)


def test_a_process_that_stood_still_shows_it(mine: Mine) -> None:
    def lags() -> float:
        """Of more than half a second."""
        samples = mine.rng.now
        shorter = samples("dockercoins_event_loop_lag_seconds_bucket", le="0.524288")
        return samples("dockercoins_event_loop_lag_seconds_count") - shorter

    def idle_reports() -> int:
        return mine.worker.process.text.count(" 0 units of work done")

    before = lags()
    mine.rng.process.send(signal.SIGSTOP)
    enough = idle_reports() + 6  # one every 0.2 s
    until(lambda: idle_reports() >= enough)
    mine.rng.process.send(signal.SIGCONT)
    until(lambda: lags() > before)
