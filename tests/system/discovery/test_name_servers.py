import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.admin_endpoint import scrape
from support.dns_server import Mood
from support.waiting import wait_until
from system.discovery.mine import Mine, mine
from system.discovery.replicas import address

TROUBLE_S = 20.0
DELAY_S = 0.05

SEEN_LIMIT_S = 1.2
BUSY_S = 1.5


def start(mine: Mine) -> None:
    mine.rngs.start(1, 2)
    mine.start_worker()
    mine.until_full_speed()


@pytest.fixture(scope="module")
def mines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Mood, Mine]]:
    """A mine for each mood of its name server, all alike in all else."""
    folder = tmp_path_factory.mktemp("mines")
    with contextlib.ExitStack() as stack:
        made = {mood: stack.enter_context(mine(folder / mood.name, rng=DELAY_S)) for mood in Mood}
        with ThreadPoolExecutor(len(made)) as executor:
            list(executor.map(start, made.values()))
        yield made


def test_a_name_server_in_trouble_costs_no_speed(mines: dict[Mood, Mine]) -> None:
    """Empty, failing, silent and slow at the same time, beside one that is right."""
    for mood, troubled in mines.items():
        troubled.dns.mood = mood
    began = time.monotonic()
    queries = {mood: troubled.dns.queries for mood, troubled in mines.items()}
    time.sleep(TROUBLE_S)
    expected = mines[Mood.RIGHT].hashers.log.speed(began, began + TROUBLE_S)
    for mood, troubled in mines.items():
        assert troubled.hashers.log.speed(began, began + TROUBLE_S) >= 0.95 * expected, mood
        assert troubled.dns.queries > queries[mood], mood
        # A line for each service, not one for each look-up.
        lines = 2 if mood in {Mood.EMPTY, Mood.FAILING, Mood.SILENT} else 0
        assert troubled.worker.text.count("look-up failed") == lines, mood


def test_an_answer_that_changes_is_seen_whatever_its_time_to_live(mines: dict[Mood, Mine]) -> None:
    """A replica that is named no more is drained before it stops, as in Kubernetes, where pods serve on for a while."""
    right = mines[Mood.RIGHT]
    [added] = right.rngs.start(3)
    right.until_shared([added], SEEN_LIMIT_S + BUSY_S)
    with right.nothing_retried():
        right.rngs.hide(3)
        shares = right.rngs.log.shares
        wait_until(lambda: added not in shares(time.monotonic() - 0.5, time.monotonic()), SEEN_LIMIT_S + BUSY_S)
        right.rngs.stop(3)


def test_a_name_server_that_takes_longer_than_its_first_query_may_is_waited_for(mines: dict[Mood, Mine]) -> None:
    slow = mines[Mood.SLOW]
    slow.dns.delay_s = 1.5
    assert slow.worker.stop() == 0
    slow.start_worker()
    slow.until_full_speed(limit_s=10)


def test_all_is_counted(mines: dict[Mood, Mine]) -> None:
    for each in mines.values():
        each.dns.mood = Mood.RIGHT
        each.finish()


@pytest.mark.parametrize(("addresses", "tcp"), [(40, True), (64, True), (40, False)])
def test_of_many_addresses_all_are_used_or_a_line_says_why_not(tmp_path: Path, addresses: int, *, tcp: bool) -> None:
    """An answer of more than 512 bytes needs TCP."""
    with mine(tmp_path, rng=DELAY_S) as made:
        if not tcp:
            made.dns.tcp.shutdown()
            made.dns.tcp.server_close()
        made.rngs.start(1, 2, 3)
        made.rngs.addresses += [address(number) for number in range(4, 1 + addresses)]
        worker = made.start_worker()
        if tcp:
            made.until_full_speed()
            samples = scrape(worker.metrics_port)
            connecting = samples("dockercoins_worker_endpoints", service="rng", state="connecting")
            assert connecting == addresses - 3
        else:
            worker.wait_for("look-up failed.*too long for UDP, and TCP does not work")
            wait_until(lambda: made.speed > 0)
        made.finish()
