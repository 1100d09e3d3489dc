"""The load test as a person runs it, against real services."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import KEPT, ServiceProcess, ServiceProcesses, local_target

SHORT = ("--duration", "0.3", "--warm-up", "0.1", "--repeat", "1")


@dataclass
class LoadTest:
    """One that is under way, or has ended."""

    popen: "subprocess.Popen[str]"
    errors: Path
    """What it says on standard error."""

    def wait_for(self, pattern: str, limit: float = 20.0) -> None:
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.errors.read_text()):
            assert time.monotonic() < deadline, self.errors.read_text()
            assert self.popen.poll() is None, self.errors.read_text()
            time.sleep(0.01)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, its standard output and the last line of its standard error."""
        output, _ = self.popen.communicate(timeout=40)
        return self.popen.returncode, output, self.errors.read_text().strip().rpartition("\n")[2]

    def children(self, module: str) -> list[psutil.Process]:
        return [each for each in psutil.Process(self.popen.pid).children() if module in each.cmdline()]


@contextmanager
def load_test(folder: Path, *words: object, **env: object) -> Iterator[LoadTest]:
    errors = folder / "stderr"
    clean = {key: value for key, value in os.environ.items() if key in KEPT}
    with errors.open("w") as file:
        popen = subprocess.Popen(
            [sys.executable, "-m", "worker_svc", "load-test", *map(str, words)],
            env={**clean, **{key: str(value) for key, value in env.items()}},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        )
    try:
        yield LoadTest(popen, errors)
    finally:
        popen.kill()
        popen.communicate()


def run(folder: Path, *words: object, **env: object) -> tuple[int, str, str]:
    with load_test(folder, *words, **env) as started:
        return started.end()


def of_session(leader: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


@pytest.fixture
def services(processes: ServiceProcesses) -> dict[str, ServiceProcess]:
    return {name: processes.start(name, PACE="full") for name in ("rng", "hasher")}


def targets(services: dict[str, ServiceProcess]) -> dict[str, str]:
    return {f"{name.upper()}_TARGET": local_target(service) for name, service in services.items()}


def test_a_sweep_against_services_of_its_own(tmp_path: Path) -> None:
    file, page = tmp_path / "report.json", tmp_path / "report.html"
    words = ("--batch-sizes", "1,256", "--modes", "stream,unary", "--output", file, "--html", page)
    with load_test(tmp_path, *words, *SHORT) as started:
        code, output, _ = started.end()
        assert code == 0, started.errors.read_text()
        assert not of_session(started.popen.pid)
        assert "4 of 4: unary, batch 256," in started.errors.read_text()
    report: Any = json.loads(file.read_text())
    assert report["complete"]
    assert report["conditions"]["started"] == ["rng", "hasher"]
    assert [(each["point"]["mode"], each["point"]["batch_size"]) for each in report["points"]] == [
        ("stream", 1), ("stream", 256), ("unary", 1), ("unary", 256),
    ]  # fmt: skip
    for each in report["points"]:
        summary = each["summary"]
        assert len(each["runs"]) == summary["runs"] == 1
        assert summary["hashes_per_second"]["median"] > 10
        assert all(run["hashes"] == run["batches"] * each["point"]["batch_size"] for run in each["runs"])
        assert set(summary["cpu_seconds_per_million_hashes"]) == {"load-test", "rng", "hasher"}
        latency = summary["latency_seconds"]
        assert latency["total"]["p50"] >= max(latency["rng"]["p50"], latency["hasher"]["p50"]) > 0
        assert summary["errors"] == {}
        assert summary["of_loop"]["median"] > 0
    assert max(each["summary"]["of_best"] for each in report["points"]) == 1
    assert "hashes/s" in output
    assert "<svg" in page.read_text()


def test_running_services_that_are_named_are_asked(services: dict[str, ServiceProcess], tmp_path: Path) -> None:
    code, output, _ = run(tmp_path, "--batch-sizes", 64, "--format", "json", *SHORT, **targets(services))
    assert code == 0
    report: Any = json.loads(output)
    assert report["conditions"]["started"] == []
    assert list(report["points"][0]["summary"]["cpu_seconds_per_million_hashes"]) == ["load-test"]
    assert "-load-test" in services["rng"].text


def test_a_report_is_published_beside_what_is_written(
    services: dict[str, ServiceProcess], redis: RedisServer, tmp_path: Path
) -> None:
    words = ("--batch-sizes", 64, "--format", "json", *SHORT)
    code, output, _ = run(tmp_path, *words, "--publish", REDIS_URL=redis.url, **targets(services))
    assert code == 0
    (text,) = redis.client().lrange("load_tests", 0, -1)
    kept, written = json.loads(text), json.loads(output)
    assert kept["began"] == written["began"]
    assert [each["summary"] for each in kept["points"]] == [each["summary"] for each in written["points"]]


def test_a_report_that_can_not_be_published_is_written_all_the_same(
    services: dict[str, ServiceProcess], tmp_path: Path
) -> None:
    words = ("--batch-sizes", 64, "--format", "json", *SHORT)
    publish = ("--publish", f"redis://127.0.0.1:{free_port()}")
    code, output, said = run(tmp_path, *words, *publish, **targets(services))
    assert code == 1
    assert said.startswith("load-test: --publish: Redis did not take the report (")
    assert json.loads(output)["complete"]


def test_what_fails_is_asked_again_and_counted(processes: ServiceProcesses, tmp_path: Path) -> None:
    services = {
        "rng": processes.start("rng", PACE="full", FAULT_ERROR_RATE=0.2),
        "hasher": processes.start("hasher", PACE="full"),
    }
    words = ("--batch-sizes", 16, "--modes", "stream,unary", "--format", "json", *SHORT)
    code, output, _ = run(tmp_path, *words, **targets(services))
    assert code == 0
    for each in json.loads(output)["points"]:
        assert set(each["summary"]["errors"]) == {"rng"}
        assert each["summary"]["errors"]["rng"]["UNAVAILABLE"] > 0
        assert each["summary"]["asked_again"] > 0


def test_an_interrupt_keeps_what_is_measured(tmp_path: Path) -> None:
    file, page = tmp_path / "report.json", tmp_path / "report.html"
    words = ("--batch-sizes", "16,64", "--output", file, "--html", page, *SHORT[:-1], 50)
    with load_test(tmp_path, *words) as started:
        started.wait_for("2 of 100")
        started.popen.send_signal(signal.SIGINT)
        code, output, said = started.end()
        assert not of_session(started.popen.pid)
    assert code == 130
    assert re.fullmatch(r"load-test: interrupted; [23] finished runs are reported", said)
    report: Any = json.loads(file.read_text())
    assert (report["complete"], report["problem"]) == (False, "interrupted")
    assert {each["point"]["batch_size"] for each in report["points"]} == {16, 64}
    assert "hashes/s" in output
    assert "interrupted" in page.read_text()


def test_a_second_interrupt_ends_everything_at_once(tmp_path: Path) -> None:
    with load_test(tmp_path, "--batch-sizes", 64, *SHORT[:-1], 50) as started:
        started.wait_for("1 of 50")
        (rng,) = started.children("rng_svc")
        rng.suspend()
        began = time.monotonic()
        started.popen.send_signal(signal.SIGINT)
        time.sleep(0.5)
        started.popen.send_signal(signal.SIGINT)
        assert started.end()[0] == 130
        while of_session(started.popen.pid):  # a process that was killed is gone a moment later
            assert time.monotonic() - began < 2
            time.sleep(0.01)


def test_a_target_that_nobody_answers_at_is_named(tmp_path: Path) -> None:
    target = f"ipv4:127.0.0.1:{free_port()}"
    code, output, said = run(tmp_path, "--batch-sizes", 1, "--hasher-target", target, *SHORT)
    assert (code, output) == (1, "")
    assert said == (f"load-test: hasher at {target} can't be reached: nobody answered within 5 s; nothing was measured")


@pytest.mark.parametrize("mode", ["stream", "unary"])
def test_a_target_that_dies_is_named_and_finished_runs_are_kept(
    mode: str, services: dict[str, ServiceProcess], tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    words = ("--batch-sizes", 64, "--modes", mode, "--output", file, *SHORT[:-1], 50)
    with load_test(tmp_path, *words, **targets(services)) as started:
        started.wait_for("1 of 50")
        services["hasher"].kill()
        code, output, said = started.end()
    assert code == 1
    assert re.fullmatch(
        rf"load-test: hasher at {local_target(services['hasher'])} (is lost: no server for 3 s|can't be reached.*); "
        r"\d+ finished runs? (is|are) reported",
        said,
    )
    assert "hashes/s" in output
    assert json.loads(file.read_text())["points"]


def test_a_service_of_its_own_that_dies_is_named_at_once(tmp_path: Path) -> None:
    with load_test(tmp_path, "--batch-sizes", 64, *SHORT[:-1], 50) as started:
        started.wait_for("1 of 50")
        (rng,) = started.children("rng_svc")
        rng.kill()
        code, _, said = started.end()
        assert not of_session(started.popen.pid)
    assert code == 1
    assert said.startswith("load-test: the rng started here died of SIGKILL; ")


def test_a_report_that_can_not_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    for option in ("--output", "--html"):
        code, output, said = run(tmp_path, option, tmp_path / "missing" / "report")
        assert (code, output) == (2, "")
        assert said == f"load-test: {option} {tmp_path}/missing/report: it can't be written (No such file or directory)"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_disk_that_is_full_in_the_end_leaves_the_table(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, output, said = run(tmp_path, "--batch-sizes", 64, "--output", "/dev/full", "--html", page, *SHORT)
    assert code == 1
    assert said == "load-test: /dev/full can't be written (No space left on device)"
    assert "hashes/s" in output
    assert page.exists()


def test_a_setting_that_is_not_allowed_is_one_line(tmp_path: Path) -> None:
    code, output, said = run(tmp_path, WINDOW_SIZE=0)
    assert (code, output) == (2, "")
    assert said.startswith("load-test: WINDOW_SIZE='0' is not allowed")
    code, output, said = run(tmp_path, "--batch-sizes", 1, *SHORT, FAULT_SLOW=-1)
    assert (code, output) == (2, "")
    assert "FAULT_SLOW='-1' is not allowed" in said


def test_a_comparison_says_what_changed_and_fails_below_a_ratio(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert run(tmp_path, "--batch-sizes", 16, "--output", file, *SHORT)[0] == 0
    words = ("--batch-sizes", 16, "--compare", file, *SHORT)
    code, output, said = run(tmp_path, *words, "--fail-below", 100)
    assert code == 1
    assert "Changes" in output
    assert said.startswith("load-test: slower than 100 of the earlier speed: stream, batch 16")
    code, _, said = run(tmp_path, "--batch-sizes", 17, "--compare", file)
    assert code == 2
    assert said.endswith("none of the points to measure is in it")


def test_another_word_is_no_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker_svc", "loadtest"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "worker: 'loadtest' is not allowed: it must be load-test, or nothing to mine\n"


def test_a_batch_that_is_never_answered_is_told(processes: ServiceProcesses, tmp_path: Path) -> None:
    """Otherwise latency would be that of all others."""
    services = {
        "rng": processes.start("rng", PACE="full", FAULT_HANG_RATE=0.05),
        "hasher": processes.start("hasher", PACE="full"),
    }
    words = ("--batch-sizes", 1, "--modes", "unary", "--windows", 256, "--format", "json", *SHORT)
    code, output, _ = run(tmp_path, *words, **targets(services))
    assert code == 0
    summary = json.loads(output)["points"][0]["summary"]
    assert summary["unanswered"] > 0
    assert summary["latency_seconds"]["total"]["max"] > 5
