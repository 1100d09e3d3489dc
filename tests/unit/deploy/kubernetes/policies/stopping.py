"""Pods have the time that they take to stop, and no drain or rollout waits for ever."""

from collections.abc import Iterator, Sequence

from unit.deploy.kubernetes.pods import SERVICES, Pod, pods
from unit.deploy.kubernetes.rendered import Object, of_kind
from unit.deploy.kubernetes.selector import matches

from chassis.process import STOP_LIMIT

DNS_TTL = 5
"""Seconds that CoreDNS' answers are good for where nobody says another time (https://coredns.io/plugins/kubernetes/)."""

LOOKUP_INTERVAL = 1
"""Seconds until a worker asks again."""


def complaints(objects: Sequence[Object]) -> list[str]:
    """About how pods end."""
    return [f"{pod.what}: {each}" for pod in pods(objects) for each in (*_grace(pod), *_budget(pod, objects))]


def _grace(pod: Pod) -> Iterator[str]:
    hook = pod.container.get("lifecycle", {}).get("preStop", {})
    waits = hook.get("sleep", {}).get("seconds", 0)
    if pod.name in SERVICES and pod.spec["terminationGracePeriodSeconds"] < waits + STOP_LIMIT:
        yield f"it is killed before its {waits} s and {STOP_LIMIT} s are over"
    if pod.name in {"rng", "hasher"} and waits < DNS_TTL + LOOKUP_INTERVAL:
        yield "it goes before DNS tells of another"
    strategy = pod.workload["spec"].get("strategy", pod.workload["spec"].get("updateStrategy", {}))
    if pod.name in SERVICES and strategy.get("rollingUpdate") != {"maxSurge": 1, "maxUnavailable": 0}:
        yield "a rollout takes one away before another is ready"


def _budget(pod: Pod, objects: Sequence[Object]) -> Iterator[str]:
    budgets = [
        each["spec"]
        for each in of_kind(objects, "PodDisruptionBudget")
        if matches(each["spec"]["selector"], pod.labels)
    ]
    if pod.name == "prometheus":
        return
    if pod.replicas is None:
        if budgets:
            yield "a budget of a DaemonSet's counts nothing"
        return
    if len(budgets) != 1:
        yield f"it has {len(budgets)} budgets"
    for budget in budgets:
        if budget.get("maxUnavailable") == 0 or budget.get("minAvailable", 0) >= pod.replicas:
            yield "its budget keeps every node from being drained"
