from chassis.health import Health


def test_a_process_is_ready_once_it_has_started_and_while_every_condition_holds() -> None:
    health = Health("rng", "hasher")
    assert health.unmet == ["rng", "hasher", "starting"]
    health.started()
    health.set("rng", met=True)
    assert (health.ready, health.unmet) == (False, ["hasher"])
    assert health.probe("/readyz") == (503, "not ready: hasher\n")
    health.set("hasher", met=True)
    assert (health.ready, health.unmet) == (True, [])
    health.set("rng", met=False)
    assert (health.ready, health.unmet) == (False, ["rng"])


def test_a_draining_process_never_becomes_ready_again() -> None:
    health = Health("rng")
    health.started()
    health.drain()
    health.set("rng", met=True)
    health.started()
    assert (health.ready, health.unmet) == (False, ["draining"])
