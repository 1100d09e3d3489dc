import math

import pytest
from support.reports import make_report

from webui_svc.coins import Coin, Found
from webui_svc.finds import SHOWN, Finds
from webui_svc.speed import Speed

BASE = 1_700_000_000


def place(moment: float) -> float:
    """A worker's clock that is right."""
    return moment


def digest(number: int) -> str:
    return f"{number:064x}"


def worked(worker: str, hashes: int, coins: int, seconds: int, speed: Speed) -> None:
    """Report seconds from BASE on."""
    speed.add(make_report(BASE, BASE + seconds, hashes, worker, coins=coins), BASE + seconds, 0)
    speed.settle(BASE + seconds, 0)


def test_the_newest_coins_of_all_workers_are_shown() -> None:
    finds = Finds()
    for number in range(6):
        finds.hear("a", Found(4, (Coin(digest(2 * number), BASE + 2 * number),)), place)
        finds.hear("b", Found(5, (Coin(digest(2 * number + 1), BASE + 2 * number + 1),)), place)
    latest = finds.figures(Speed())["latest"]
    assert [coin["digest"] for coin in latest] == [digest(number) for number in range(11, 11 - SHOWN, -1)]
    assert latest[0] == {"digest": digest(11), "at": BASE + 11, "bits": 5, "worker": "b"}


def test_coins_are_shown_with_the_time_of_redis() -> None:
    finds = Finds()
    finds.hear("a", Found(4, (Coin(digest(1), BASE + 50.25),)), lambda at: at - 50)
    assert [coin["at"] for coin in finds.figures(Speed(), 3_600)["latest"]] == [BASE + 3_600.25]


def test_what_is_expected_of_the_last_minute_follows_from_hashes_and_bits_of_each_worker() -> None:
    finds, speed = Finds(), Speed()
    finds.hear("a", Found(4, ()), place)
    finds.hear("b", Found(0, ()), place)
    worked("a", 32_000, 2_034, 120, speed)
    worked("b", 100, 100, 120, speed)
    figures = finds.figures(speed)
    assert (figures["minute"], figures["predicted"]) == (1_017 + 50, 1_000 + 50)
    assert figures["deviation"] == pytest.approx(math.sqrt(16_000 / 16 * 15 / 16), abs=1e-3)


def test_nothing_is_predicted_as_long_as_the_bits_are_not_known() -> None:
    finds, speed = Finds(), Speed()
    worked("a", 16_000, 1_017, 60, speed)
    assert finds.figures(speed) == {"latest": [], "minute": 1_017, "predicted": None, "deviation": None}
