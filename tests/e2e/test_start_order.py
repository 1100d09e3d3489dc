"""Nothing here needs to be started in an order."""

import time

from support.compose_project import Start


def test_who_needs_the_others_may_be_there_first(make_project: Start) -> None:
    project = make_project()
    project.ask("up", "--detach", "--no-deps", "worker", "webui")
    time.sleep(3)
    project.ask("up", "--detach", "--no-deps", "redis", "hasher", "rng")
    project.wait_for_hashes(0, limit=20)
    assert [container["RestartCount"] for container in project.containers()] == [0] * 5
