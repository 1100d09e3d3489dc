"""What a frozen backend owes is freed because it answers no keepalive ping, and by nothing else.

That takes a backend that freezes while nothing is on the wire: where data flows, gRPC also sends pings to measure the
bandwidth, and their going unanswered is noticed as well. And it takes a worker with so few batches that none may be
asked of a second backend, for the budget is a twentieth of them.
"""

import time

import pytest
from system.discovery.mine import MakeMine, Mine
from system.discovery.side_by_side import side_by_side

pytestmark = pytest.mark.pair(reason="what takes 7 s is held to 8")

NOTICED_WITHIN = 8.0
"""Seconds: up to 5 until the next ping, 2 that it may remain unanswered, and 1 for what follows."""

DELAY = 1.2
QUIET_AFTER = 0.8
"""Seconds after an answer, while the next one is worked on, in which all pings that it gave rise to are answered."""


def test_a_new_replica_is_given_what_a_frozen_one_owes_within_eight_seconds(make_mine: MakeMine) -> None:
    """Whether or not DNS goes on naming the frozen one."""
    named = [make_mine(rng=DELAY), make_mine(hasher=DELAY)]
    hidden = [make_mine(rng=DELAY), make_mine(hasher=DELAY)]

    def replace_a_frozen_one(mine: Mine) -> None:
        evidence = mine.limit.evidence
        mine.limit.start(1)
        mine.start_worker(WINDOW_SIZE=1)
        mine.until(lambda now: len(evidence.answers) == 2, limit=10)
        time.sleep(QUIET_AFTER)
        began = time.monotonic()
        mine.limit.freeze(1)
        (successor,) = mine.limit.start(2)
        if mine in hidden:
            mine.limit.hide(1)
        mine.until(lambda now: successor in evidence.shares(began, now), NOTICED_WITHIN + DELAY, since=began)
        assert "ping timeout" in mine.worker.text
        mine.limit.kill(1)
        mine.finish()

    side_by_side(replace_a_frozen_one, *named, *hidden)
