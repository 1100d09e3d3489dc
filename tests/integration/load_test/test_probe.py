import asyncio
import re
from collections.abc import Callable

import pytest
from support.free_port import free_port
from support.served import served

from chassis.process import EXIT_FAILURE
from load_test import probe as probe_module
from load_test.probe import probe

Printed = Callable[[], list[str]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Returns the lines printed so far, without those that the server logs."""
    return lambda: [line for line in capsys.readouterr().out.splitlines() if not line.startswith("20")]


@pytest.mark.parametrize("service", ["rng", "hasher"])
async def test_each_request_is_a_line_and_a_serial_server_takes_its_delay_for_each(
    printed: Printed, service: str
) -> None:
    async with served(service, pace="classic", delay=0.05, concurrency=1) as port:
        assert await probe(service, f"127.0.0.1:{port}", 6, 3) == 0
    *lines, responses, quantiles, sources = printed()
    found = [re.fullmatch(rf" +(\d)  {service}-1  ([0-9.]+) ms", line) for line in lines]
    numbers, times = zip(*(match.groups() for match in found if match), strict=True)
    assert "".join(numbers) == "123456"
    # Three at a time wait for each other: the first takes one delay, and those behind it up to three.
    assert float(times[0]) > 45
    assert max(map(float, times)) > 140
    total = re.fullmatch(r"6 responses in ([0-9.]+) s: [0-9.]+ per second", responses)
    assert total
    assert float(total[1]) >= 0.3
    assert re.fullmatch(r"p50 [0-9.]+ ms, p99 [0-9.]+ ms", quantiles)
    assert sources == f"from {service}-1 6"


async def test_the_replicas_of_a_target_are_probed_in_turn(printed: Printed) -> None:
    async with served("rng") as first, served("rng", instance="rng-2") as second:
        assert await probe("rng", f"ipv4:127.0.0.1:{first},127.0.0.1:{second}", 200, 1) == 0
    counts = re.fullmatch(r"from rng-1 ([0-9]+), rng-2 ([0-9]+)", printed()[-1])
    assert counts
    assert min(map(int, counts.groups())) > 50


async def test_a_request_that_fails_is_a_line_with_its_code(printed: Printed) -> None:
    async with served("rng", fault_error_rate=1) as port:
        assert await probe("rng", f"127.0.0.1:{port}", 2, 1) == EXIT_FAILURE
    lines = printed()
    assert re.match(" +2  UNAVAILABLE: ", lines[1])
    assert (lines[2].partition(" in ")[0], lines[-1]) == ("0 responses", "from none")


async def test_a_server_that_is_not_there_is_named_with_the_cause(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "REQUEST_LIMIT_S", 0.5)
    target = f"127.0.0.1:{free_port()}"
    assert await probe("rng", target, 1, 1) == EXIT_FAILURE
    assert re.match(f"no connection to {target}: .*Connection refused", printed()[0])


async def test_what_was_measured_is_summed_up_when_it_is_interrupted(printed: Printed) -> None:
    async with served("rng", pace="classic", delay=0.05) as port:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(probe("rng", f"127.0.0.1:{port}", 1_000, 1), 1)
    lines = printed()
    assert re.match(f"{len(lines) - 3} responses? in ", lines[-3])
