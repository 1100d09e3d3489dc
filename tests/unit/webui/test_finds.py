import math

import pytest
from support.reports import make_report

from webui_svc.coins import Coin, Found
from webui_svc.finds import SHOWN, Finds
from webui_svc.speed import Speed

BASE = 1_700_000_000


def test_the_newest_coins_of_all_workers_are_shown_with_the_time_of_redis() -> None:
    finds = Finds()
    for number in range(12):
        found = Found(4, (Coin(f"{number:064x}", BASE + number + 50.25),))
        finds.hear(f"worker-{number % 2}", found, lambda at: at - 50)
    latest = finds.figures(Speed(), 3_600)["latest"]
    assert [int(coin["digest"], 16) for coin in latest] == list(range(11, 11 - SHOWN, -1))
    assert latest[0] == {"digest": f"{11:064x}", "at": BASE + 3_611.25, "bits": 4, "worker": "worker-1"}


def test_what_is_expected_of_the_last_minute_follows_from_hashes_and_bits_of_each_worker() -> None:
    finds, speed = Finds(), Speed()
    assert finds.figures(speed) == {"latest": [], "minute": 0, "predicted": None, "deviation": None}
    for worker, bits, hashes, coins in (("a", 4, 32_000, 2_034), ("b", 0, 100, 100)):
        speed.add(make_report(BASE, BASE + 120, hashes, worker, coins=coins), BASE + 120, 0)
        speed.settle(BASE + 120, 0)
        finds.hear(worker, Found(bits, ()), lambda at: at)
    figures = finds.figures(speed)
    assert (figures["minute"], figures["predicted"]) == (1_017 + 50, 1_000 + 50)
    assert figures["deviation"] == pytest.approx(math.sqrt(16_000 / 16 * 15 / 16), abs=1e-3)
