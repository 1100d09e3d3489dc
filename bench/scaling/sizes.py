"""What many nodes would do, by the model; and how near each part is to its bound."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from bench.scaling.model import SERVICES, Costs, Node, Prediction, System, predict
from chassis.grpc_options import MAX_CONNECTIONS
from chassis.grpc_server.admission import MAX_CALLS
from worker_svc.pool.endpoint import STREAMS_PER_ENDPOINT

SIZES = ((1, 1), (10, 1), (100, 1), (100, 10), (1_000, 1), (1_000, 10), (1_000, 100))
"""Nodes, and cells that know nothing of each other."""

CORES = 8
"""Of a node."""

EACH = 3
"""Rngs, hashers and workers on a node: each of the three takes about a third of a batch's CPU."""

BATCH_SIZE = 65_536
WINDOW = 8

MAX_ENDPOINTS = 64
"""The worker's default."""

NETWORKS = {"any network": inf, "10 Gbit/s": 10e9 / 8, "25 Gbit/s": 25e9 / 8}
"""Bytes a second each way, of a node."""

CONNECTED_CORES = 0.000_07
"""Of a worker, for each rng and hasher that it is connected to: `--parts names`."""

REPORTS = 2_000
"""A second that one Redis takes in time where each lists 64 rngs and 64 hashers, with `appendfsync always`: 93 MB a
second for the disk. It was seen to write as much in time, and 210 MB not (`--parts reports`)."""


def speed(nodes: int, costs: Costs, network: float = inf) -> Prediction:
    """What so many nodes do that know of each other."""
    system = System((Node(CORES, EACH, EACH, EACH, nodes, network),), BATCH_SIZE, WINDOW)
    replicas = EACH * nodes
    known = min(replicas, MAX_ENDPOINTS)
    return predict(system, replace(costs, process={"worker": 2 * known * CONNECTED_CORES}))


def server_calls(replicas: int) -> int:
    """Calls that one server has open, where there are so many replicas of each service: streams and watches of health.

    A worker knows MAX_ENDPOINTS of a service, so a server is known to as many workers on average.
    """
    return (STREAMS_PER_ENDPOINT + 1) * min(replicas, MAX_ENDPOINTS)


def cost_lines(costs: Costs) -> Iterator[str]:
    """The table of costs."""
    yield f"CPU microseconds of a batch, by service; {costs.usable:.2f} of two cores is used where they are the limit"
    yield f"{'':<8} {'a batch':>9} {'a hash more':>12} {'batch of 65,536':>16}"
    for service in SERVICES:
        cost = costs.services[service]
        yield f"{service:<8} {cost.batch * 1e6:>9.0f} {cost.hash * 1e6:>12.4f} {cost.of(BATCH_SIZE) * 1e6:>16,.0f}"


def lines(costs: Costs) -> Iterator[str]:
    """The tables of sizes."""
    yield (
        f"By the model, millions of hashes a second: nodes of {CORES} cores with {EACH} rngs, {EACH} hashers and "
        f"{EACH} workers each,"
    )
    yield f"batch {BATCH_SIZE:,}, {WINDOW} in flight, by the network of a node"
    yield f"{'nodes':>6} {'cells':>6} " + " ".join(f"{name:>12} {'limit':<17}" for name in NETWORKS)
    for nodes, cells in SIZES:
        done = [speed(nodes // cells, costs, network) for network in NETWORKS.values()]
        columns = (f"{each.speed * cells / 1e6:>12,.0f} {each.limit:<17}" for each in done)
        yield f"{nodes:>6,} {cells:>6,} " + " ".join(columns)
    yield ""
    yield "The same sizes: how much of its bounds each part uses; above 100 % it can't be done"
    yield (
        f"{'nodes':>6} {'cells':>6} {'workers of a cell':>18} {'connections':>12} {'calls':>6} {'endpoints':>9} "
        f"{'reports':>8} {'a worker, cores':>15}"
    )
    for nodes, cells in SIZES:
        replicas = EACH * nodes // cells
        known = min(replicas, MAX_ENDPOINTS)
        yield (
            f"{nodes:>6,} {cells:>6,} {replicas:>18,} {known / MAX_CONNECTIONS:>12.0%} "
            f"{server_calls(replicas) / MAX_CALLS:>6.0%} {replicas / MAX_ENDPOINTS:>9.0%} "
            f"{replicas / REPORTS:>8.0%} {2 * known * CONNECTED_CORES:>15.3f}"
        )
    yield (
        f"of {MAX_CONNECTIONS:,} connections and {MAX_CALLS:,} calls to a server, of {MAX_ENDPOINTS} endpoints of a "
        f"worker per service (above"
    )
    yield (
        f"100 % it knows a random part of them at a time), of {REPORTS:,} reports/s to a Redis; cores of a worker for "
        f"its connections alone"
    )
