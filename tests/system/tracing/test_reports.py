"""The spans of reports to Redis."""

from support.otlp_receiver import OtlpReceiver
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses
from system.tracing.traced_system import start
from system.worker.test_worker_process import hashes_in, until


def test_a_report_is_a_trace_of_its_own(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    system = start(processes, redis, collector.url)
    until(lambda: hashes_in(redis) >= 6)
    assert system.stop() == [0, 0, 0]
    reports = collector.spans("report")
    assert [span.attributes["dockercoins.report.sequence"] for span in reports] == list(range(1, len(reports) + 1))
    assert sum(span.attributes["dockercoins.report.hashes"] for span in reports) == hashes_in(redis)
    for report in reports:
        assert (report.kind, report.parent, report.error, report.instance) == (
            "CLIENT", "", None, system.worker.instance,
        )  # fmt: skip
        assert report.attributes["dockercoins.report.attempt"] == 1


def test_each_attempt_while_redis_is_away_is_an_error(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    system = start(processes, redis, collector.url)
    until(lambda: hashes_in(redis) >= 1)
    redis.stop()
    collector.wait_for(lambda spans: len([span for span in spans if span.name == "report" and span.error]) >= 3)
    redis.start()
    collector.wait_for(lambda spans: [span for span in spans if span.name == "report"][-1].error is None)
    assert system.stop() == [0, 0, 0]
    reports = collector.spans("report")
    failed = [span for span in reports if span.error]
    (sequence,) = {span.attributes["dockercoins.report.sequence"] for span in failed}
    again = [span for span in reports if span.attributes["dockercoins.report.sequence"] == sequence]
    assert [span.attributes["dockercoins.report.attempt"] for span in again] == list(range(1, len(failed) + 2))
    assert again[-1].error is None
    assert {str(span.error).split(":")[0] for span in failed} <= {"ConnectionError", "TimeoutError", "BusyLoadingError"}
