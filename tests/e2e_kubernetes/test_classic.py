"""The workshop's pace on a real cluster: what docs/kubernetes.md promises of scaling, roll-outs and what is deleted.

The tests of this file change one namespace in their order.
"""

import time
from collections.abc import Callable

import pytest
from support.cluster import Cluster
from support.waiting import wait_until

pytestmark = pytest.mark.quick

ALL = ("deployment/rng", "deployment/hasher", "deployment/worker", "deployment/webui", "statefulset/redis")


def events(cluster: Cluster, kind: str) -> list[str]:
    """Return the messages of events of a kind."""
    return [event["message"] for event in cluster.get("events", "--field-selector", f"type={kind}")]


def restarts(cluster: Cluster) -> int:
    return sum(
        status["restartCount"] for pod in cluster.get("pods") for status in pod["status"].get("containerStatuses", ())
    )


def lowest_during(cluster: Cluster, change: Callable[[], object], after_s: float) -> float:
    """Return the lowest second from the beginning of a change until some time after it."""
    began = time.monotonic()
    change()
    time.sleep(after_s)
    return cluster.lowest(time.monotonic() - began)


def test_classic_starts_and_applying_it_again_changes_nothing(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.kubectl("apply", "-k", "deploy/kubernetes/overlays/classic")
    cluster.roll_out("deployment/worker")
    print(f"worker rolled out {time.monotonic() - began:.1f} s after apply")  # noqa: T201
    cluster.roll_out(*ALL)
    early = [message for message in events(cluster, "Warning") if "Startup probe failed" in message]
    print(f"{len(early)} kinds of warnings about probes that came too early")  # noqa: T201 - on a busy machine
    # kubectl replaces a budget's selector, and a StatefulSet's claims, at each apply.
    again = cluster.kubectl("apply", "-k", "deploy/kubernetes/overlays/classic").splitlines()
    assert [line for line in again if line.startswith("deployment") and not line.endswith("unchanged")] == []
    assert restarts(cluster) == 0
    cluster.wait_for_speed(10 / 3)


def test_ten_workers_and_two_rngs_do_twenty_a_second(cluster: Cluster) -> None:
    cluster.scale("worker", 10)
    cluster.wait_for_speed(10)
    cluster.scale("rng", 2)
    cluster.scale("hasher", 2)
    cluster.wait_for_speed(20)


def test_a_roll_out_and_its_undoing_leave_no_second_under_half(cluster: Cluster) -> None:
    def roll(*words: str) -> None:
        for name in ("rng", "hasher"):
            cluster.kubectl("rollout", *words, "deployment", name)
            cluster.roll_out(f"deployment/{name}")

    assert lowest_during(cluster, lambda: roll("restart"), 12) > 10
    assert lowest_during(cluster, lambda: roll("undo"), 12) > 10


def test_a_stranger_s_connections_are_refused_but_for_the_page(cluster: Cluster) -> None:
    """Also one that is labelled `app: redis` is in no Service of ours."""
    found = cluster.connect_as_stranger(("rng", 50051), ("hasher", 50151), ("redis", 6379), ("webui", 8000))
    assert found == ["refused 50051", "refused 50151", "refused 6379", "open 8000"]
    [endpoints] = cluster.get("endpointslices", "--selector", "kubernetes.io/service-name=redis")
    assert [each["targetRef"]["name"] for each in endpoints["endpoints"]] == ["redis-0"]
    cluster.kubectl("delete", "pod", "stranger")


def test_a_pod_that_is_deleted_and_redis_leave_no_second_under_half(cluster: Cluster) -> None:
    def delete(name: str) -> None:
        cluster.kubectl(
            "delete", "pod", "--selector", f"app={name},app.kubernetes.io/part-of=dockercoins", "--wait=false"
        )
        time.sleep(3)
        cluster.roll_out(*ALL)

    assert lowest_during(cluster, lambda: delete("redis"), 25) > 10
    assert lowest_during(cluster, lambda: delete("rng"), 12) > 10


def test_all_pods_deleted_at_once_lose_and_double_nothing(cluster: Cluster) -> None:
    cluster.kubectl("delete", "pods", "--all", "--wait=false")
    time.sleep(5)
    cluster.roll_out(*ALL)
    cluster.wait_for_speed(20)
    cluster.kubectl("scale", "deployment", "worker", "--replicas", 0)
    cluster.wait_for_logs()
    wait_until(lambda: cluster.hashes == cluster.units_logged, 20, lambda: (cluster.hashes, cluster.units_logged))
