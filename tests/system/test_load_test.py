import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.free_port import free_port
from support.programs import environment, run
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target, service_processes
from support.waiting import wait_until

SHORT = ("--duration", "0.3", "--warm-up", "0.1", "--repeat", "1")
LONG = ("--duration", "0.3", "--warm-up", "0.1", "--repeat", "50")

Targets = dict[str, str]
Start = Callable[..., "LoadTest"]


class LoadTest:
    """One that is under way, or has ended, in a session of its own."""

    def __init__(self, error_file: Path, words: Iterable[object], env: Mapping[str, object]) -> None:
        self._error_file = error_file
        with error_file.open("w") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "load_test", *map(str, words)],
                env=environment(**env),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    @property
    def errors(self) -> str:
        return self._error_file.read_text()

    def wait_for(self, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self.errors) or self.popen.poll() is not None)
        assert self.popen.poll() is None, self.errors

    def end(self) -> tuple[int, str, str]:
        """Return its exit code, its standard output and the last line of its standard error."""
        output, _ = self.popen.communicate(timeout=60)
        return self.popen.returncode, output, self.errors.strip().rpartition("\n")[2]

    def own_rng(self) -> psutil.Process:
        (found,) = (each for each in psutil.Process(self.popen.pid).children() if "rng_svc" in each.cmdline())
        return found

    def left_behind(self) -> list[int]:
        """Return the processes of its session."""
        found = []
        for pid in psutil.pids():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.popen.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    started: list[LoadTest] = []

    def start_one(*words: object, **env: object) -> LoadTest:
        started.append(LoadTest(tmp_path_factory.mktemp("load_test") / "stderr", words, env))
        return started[-1]

    yield start_one
    for each in started:
        each.popen.kill()
        each.popen.communicate()


def target_settings(rng: ServiceProcess, hasher: ServiceProcess) -> Targets:
    return {"RNG_TARGET": local_target(rng), "HASHER_TARGET": local_target(hasher)}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    """Where services run that no test stops."""
    with service_processes(tmp_path_factory.mktemp("services")) as processes:
        yield target_settings(*(processes.start(name, PACE="full") for name in ("rng", "hasher")))


@pytest.fixture(scope="module")
def swept(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep against services of its own."""
    folder = tmp_path_factory.mktemp("swept")
    words = ("--batch-sizes", "1,256", "--modes", "stream,unary")
    files = ("--output", folder / "report.json", "--html", folder / "report.html")
    started = start(*words, *files, *SHORT)
    code, output, _ = started.end()
    assert code == 0, started.errors
    assert not started.left_behind()
    assert "4 of 4: unary, batch 256," in started.errors
    assert "hashes/s" in output
    return folder


def test_a_sweep_starts_services_of_its_own_and_reports_every_point(swept: Path) -> None:
    report: Any = json.loads((swept / "report.json").read_text())
    assert report["complete"]
    assert report["conditions"]["started"] == ["rng", "hasher"]
    points = [(each["point"]["mode"], each["point"]["batch_size"]) for each in report["points"]]
    assert points == [("stream", 1), ("stream", 256), ("unary", 1), ("unary", 256)]
    for each in report["points"]:
        summary, (run,) = each["summary"], each["runs"]
        assert run["hashes"] == run["batches"] * each["point"]["batch_size"] > 0
        assert set(summary["cpu_seconds_per_million_hashes"]) == {"load-test", "rng", "hasher"}
        latency = summary["latency_seconds"]
        assert latency["total"]["p50"] >= max(latency["rng"]["p50"], latency["hasher"]["p50"]) > 0
        assert summary["errors"] == {}
        assert summary["vs_baseline"]["median"] > 0
    assert all(len(run["per_second"]) == 1 and run["histogram"] for each in report["points"] for run in each["runs"])
    assert '"per_second":[{' in (swept / "report.html").read_text()


def test_named_services_are_measured_and_compared_and_the_report_is_published(
    start: Start, swept: Path, targets: Targets, own_redis: RedisServer
) -> None:
    words = (
        "--batch-sizes",
        256,
        "--compare",
        swept / "report.json",
        "--fail-below",
        100,
        "--strict",
        "--publish",
        *SHORT,
    )
    code, output, line = start(*words, REDIS_URL=own_redis.url, **targets).end()
    assert code == 3
    assert "Changes" in output
    assert line.startswith(
        "load-test: inconclusive (+2 runs), below 100 of the earlier report or not: stream, batch 256"
    )
    (text,) = own_redis.client().lrange("load_tests", 0, -1)
    report: Any = json.loads(text)
    assert report["conditions"]["started"] == []
    assert list(report["points"][0]["summary"]["cpu_seconds_per_million_hashes"]) == ["load-test"]


def test_a_report_that_can_not_be_published_or_written_is_shown_all_the_same(
    start: Start, targets: Targets, tmp_path: Path
) -> None:
    full = Path("/dev/full")  # which macOS lacks
    files = ("--html", tmp_path / "report.html", *(("--output", full) if full.exists() else ()))
    publish = ("--publish", f"redis://:secret@127.0.0.1:{free_port()}")
    started = start("--batch-sizes", 64, *files, *publish, *SHORT, **targets)
    code, output, line = started.end()
    assert code == 1
    assert line.startswith("load-test: --publish: Redis did not take the report (Error")
    assert "secret" not in started.errors
    assert ("/dev/full can't be written (No space left on device)" in started.errors) == full.exists()
    assert "hashes/s" in output
    assert (tmp_path / "report.html").exists()


def test_a_batch_that_fails_is_retried_and_counted_and_one_without_a_response_is_reported(
    start: Start, processes: ServiceProcesses
) -> None:
    """Otherwise latency would be that of all others."""
    rng = processes.start("rng", PACE="full", FAULT_ERROR_RATE=0.2)
    hasher = processes.start("hasher", PACE="full", FAULT_HANG_RATE=0.05)
    words = ("--batch-sizes", 1, "--modes", "unary", "--windows", 256, "--format", "json", *SHORT)
    code, output, _ = start(*words, **target_settings(rng, hasher)).end()
    assert code == 0
    summary = json.loads(output)["points"][0]["summary"]
    assert summary["errors"]["rng"]["UNAVAILABLE"] > 0
    assert summary["resent"] > 0
    assert summary["unanswered"] > 0
    assert summary["latency_seconds"]["total"]["max"] > 5


@pytest.mark.parametrize(
    ("ended", "exit_code", "problem"),
    [("interrupted", 130, "interrupted"), ("without its rng", 1, "the rng started here died of SIGKILL")],
)
def test_what_is_measured_before_the_end_is_reported_with_what_ended_it(
    start: Start, ended: str, exit_code: int, problem: str, tmp_path: Path
) -> None:
    file, page = tmp_path / "report.json", tmp_path / "report.html"
    started = start("--batch-sizes", "16,64", "--output", file, "--html", page, *LONG)
    started.wait_for("2 of 100")
    started.popen.send_signal(signal.SIGINT) if ended == "interrupted" else started.own_rng().kill()
    code, output, line = started.end()
    assert not started.left_behind()
    assert code == exit_code
    assert re.fullmatch(rf"load-test: {problem}; \d+ runs are reported", line)
    report: Any = json.loads(file.read_text())
    assert (report["complete"], report["problem"]) == (False, problem)
    assert {each["point"]["batch_size"] for each in report["points"]} == {16, 64}
    assert "hashes/s" in output
    assert problem in page.read_text()


def test_the_first_run_of_a_point_is_reported_as_far_as_it_went(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    started = start("--batch-sizes", 64, "-z", "60s", "--warm-up", "0.1", "--repeat", 1, "--rps", 100, "--output", file)
    started.wait_for("1 run, ")
    time.sleep(4)
    started.popen.send_signal(signal.SIGINT)
    code, output, line = started.end()
    assert code == 130
    assert not started.left_behind()
    matched = re.fullmatch(
        r"load-test: (interrupted after (\d\.\d) s of stream, batch 64, .*); 1 run is reported", line
    )
    assert matched, line
    report: Any = json.loads(file.read_text())
    [run] = report["points"][0]["runs"]
    assert (report["complete"], report["problem"]) == (False, matched[1])
    assert run["seconds"] == pytest.approx(float(matched[2]), abs=0.1)
    assert run["batches"] / run["seconds"] == pytest.approx(100, rel=0.1)
    # They differ by what was in flight at the beginning and at the end: half a second of batches on a busy machine.
    assert sum(n for _, n in run["histogram"]) == pytest.approx(run["batches"], abs=50)
    assert "hashes/s" in output


def test_a_second_interrupt_ends_everything_at_once(start: Start) -> None:
    started = start("--batch-sizes", 64, *LONG)
    started.wait_for("1 of 50")
    started.own_rng().suspend()
    started.popen.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        started.popen.wait(0.5)
    started.popen.send_signal(signal.SIGINT)
    assert started.end()[0] == 130
    wait_until(lambda: not started.left_behind())


def test_a_target_that_dies_is_named_and_finished_runs_are_kept(
    start: Start, processes: ServiceProcesses, targets: Targets
) -> None:
    hasher = processes.start("hasher", PACE="full")
    target = local_target(hasher)
    started = start("--batch-sizes", 64, "--hasher-target", target, *LONG, **targets)
    started.wait_for("1 of 50")
    hasher.kill()
    code, output, line = started.end()
    assert code == 1
    lost = rf"hasher at {target} (is lost: no server for 3 s|can't be reached.*)"
    assert re.fullmatch(rf"load-test: {lost}; \d+ runs? (is|are) reported", line)
    assert "hashes/s" in output
    code, output, line = start("--batch-sizes", 1, "--hasher-target", target, *SHORT, **targets).end()
    assert (code, output) == (1, "")
    assert line.startswith(f"load-test: hasher at {target} can't be reached: no response within 5 s; ")
    assert line.endswith("Connection refused; nothing was measured")


@pytest.mark.parametrize(
    ("words", "env", "message"),
    [
        ("--html missing/report", {}, "load-test: --html missing/report: it can't be written "),
        ("", {"FAULT_SLOW": "-1"}, "load-test: .*FAULT_SLOW='-1' is not allowed"),
    ],
)
def test_a_word_or_setting_that_is_not_allowed_is_one_line_before_anything_is_measured(
    words: str, env: dict[str, str], message: str
) -> None:
    done = run(sys.executable, "-m", "load_test", *words.split(), env=environment(**env))
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.splitlines()[-1]
    assert re.match(message, line)
