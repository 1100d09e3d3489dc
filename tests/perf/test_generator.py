import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from perf.conftest import Figures
from support.mine import Mine
from support.programs import environment, run

CLIENT = Path(__file__).with_name("bare_client.py")
SECONDS = 4
PAIRS = 6


def test_requests_are_sent_on_time_and_cost_little_more_than_those_of_a_bare_client(
    figures: Figures, mine: Mine, tmp_path: Path
) -> None:
    """At half of the rate that the load test reaches with unary calls to services that share its machine."""
    targets = [f"127.0.0.1:{mine.ports[name]}" for name in ("rng", "hasher")]
    for name in ("rng", "hasher"):
        mine.start(name, PACE="full").wait_until_started()
    env = environment(RNG_TARGET=f"ipv4:{targets[0]}", HASHER_TARGET=f"ipv4:{targets[1]}")

    def load_test(*words: object) -> Any:
        output = tmp_path / "report.json"
        fixed = ("--modes", "unary", "--batch-sizes", 1, "--repeat", 1, "-z", f"{SECONDS}s", "--output", output)
        done = run(sys.executable, "-m", "load_test", *map(str, (*fixed, *words)), env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(output.read_text())["points"][0]["runs"][0]

    fastest = load_test("-c", 64)
    rate = fastest["batches"] / fastest["seconds"] / 2
    late, ours, bare = [], [], []
    for _ in range(PAIRS):
        measured = load_test("-c", 1_000, "--rps", f"{rate:.0f}")
        late.append(measured["lateness"]["p999"] * 1e3)
        ours.append(measured["cpu_seconds"]["load-test"] / (2 * measured["batches"]))
        command = [sys.executable, str(CLIENT), *targets, f"{rate:.0f}", f"{SECONDS}"]
        bare.append(float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout))
    figures.check(f"lateness p99.9 at half of the most, {rate:.0f} batches/s", min(late), 1, "ms")
    figures.check("CPU per unary call, beside a bare grpc.aio client", min(ours) / min(bare), 1.1, "times")
