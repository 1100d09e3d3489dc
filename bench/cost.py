"""The cost of tracing and TLS, in pairs of systems that differ in nothing else; and the memory that is used."""

import argparse
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trustme
from support.otlp_receiver import otlp_receiver

from bench.figures import Bound, Report, Spread, table
from bench.pairs import Pair, Sample, at_once, cpu_and_speed, lines, order, ratios
from bench.processes import show
from bench.system import HOST, Servers, servers
from chassis.batch_limits import MAX_BATCH_MESSAGES
from worker_svc.settings import MAX_IN_FLIGHT_BYTES

TRACED = {"PACE": "full", "BATCH_SIZE": "256"}
# The CPU per hash, times that without traces.
MAX_TRACED_CPU = 1.02

# The batch size that is fastest without TLS.
ENCRYPTED = {"PACE": "full", "BATCH_SIZE": "65536", "WINDOW_SIZE": "8"}
# The speed, times that without TLS.
MIN_ENCRYPTED_SPEED = 0.8

MESSAGE_SIZE = 32
WINDOW = MAX_IN_FLIGHT_BYTES // (MAX_BATCH_MESSAGES * MESSAGE_SIZE)

SAMPLE_INTERVAL_S = 0.05

MAX_MEGABYTES = 300

# The most in the second half of the time, times that in the first. Heaps grow for some seconds at first.
MAX_GROWTH = 1.1
# The shortest measurement for which growth is judged.
MIN_GROWTH_SECONDS = 60.0


def traces(arguments: argparse.Namespace, folder: Path) -> Report:
    """Measure the cost of tracing 1 % of the batches; the CPU of the collector does not count.

    Both systems mine at the same time, since the machine drifts by more than what is measured: on a busy one, ten pairs
    are wrong by 3 % in turns, and by 1 % side by side. Each pair has new processes, since two of one program differ.
    """
    pairs: list[Pair] = []
    with otlp_receiver() as collector:
        for number in range(arguments.pairs):
            show(f"CPU per hash with and without traces: pair {number + 1} of {arguments.pairs}")
            traced = servers(folder, {**TRACED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
            with traced as this, servers(folder, TRACED) as that:
                pairs.append(at_once(partial(_sample, seconds=arguments.pair_seconds), (this, that), number))
    show("")
    cpu, _ = pairs[0][0]
    bound = Bound("CPU per hash with traces, times that without", Spread(ratios(cpu, pairs)), "<=", MAX_TRACED_CPU)
    return lines("With 1 % of the batches traced, and without", ("traced", "without"), pairs), [bound]


def tls(arguments: argparse.Namespace, folder: Path) -> Report:
    """Measure the cost of encrypting every stream.

    The systems take turns: side by side, the one that needs more CPU gets more.
    """
    pairs: list[Pair] = []
    encrypted = servers(folder, {**ENCRYPTED, **_certificates(folder)})
    with encrypted as this, servers(folder, ENCRYPTED) as that:
        for number in range(arguments.pairs):
            show(f"speed with and without TLS: pair {number + 1} of {arguments.pairs}")
            samples = {index: _sample((this, that)[index], arguments.pair_seconds) for index in order(number)}
            pairs.append((samples[0], samples[1]))
    show("")
    _, speed = pairs[0][0]
    bound = Bound("speed with TLS, times that without", Spread(ratios(speed, pairs)), ">=", MIN_ENCRYPTED_SPEED)
    return lines("With TLS, and without", ("TLS", "without"), pairs), [bound]


def memory(arguments: argparse.Namespace, folder: Path) -> Report:
    """Sample the memory of every process with the largest batches, and as many in flight as a worker allows."""
    seconds = arguments.memory_seconds
    show(f"memory at batch {MAX_BATCH_MESSAGES:,}")
    settings = {"PACE": "full", "BATCH_SIZE": f"{MAX_BATCH_MESSAGES}", "WINDOW_SIZE": f"{WINDOW}"}
    halves: list[dict[str, float]] = []
    with servers(folder, settings) as running, running.worker({}) as worker:
        processes = {**running.processes, "worker": worker}
        began = time.monotonic()
        for half in (1, 2):
            halves.append(most := dict.fromkeys(processes, 0.0))
            while time.monotonic() < began + half * seconds / 2:
                for name, process in processes.items():
                    most[name] = max(most[name], process.memory_info().rss / 1e6)
                time.sleep(SAMPLE_INTERVAL_S)
    show("")
    first, second = halves
    most = {name: max(first[name], second[name]) for name in first}
    title = f"Resident at batch {MAX_BATCH_MESSAGES:,}, {WINDOW} in flight, over {seconds:.0f} s: the most, MB"
    row = [f"{megabytes:.0f}" for megabytes in most.values()]
    largest = Spread([max(most.values())])
    bounds = [Bound(f"memory of any process at batch {MAX_BATCH_MESSAGES:,}, MB", largest, "<=", MAX_MEGABYTES)]
    if seconds >= MIN_GROWTH_SECONDS:
        growth = Spread([max(second[name] / first[name] for name in first)])
        bounds.append(Bound("memory in the second half of the time, vs. the first", growth, "<=", MAX_GROWTH))
    return table(title, list(most), [row]), bounds


def _sample(running: Servers, seconds: float) -> Sample:
    return cpu_and_speed(running.mine({}, seconds))


def _certificates(folder: Path) -> Mapping[str, str]:
    """Write one certificate for all services; return the settings that name its files."""
    authority = trustme.CA()
    issued = authority.issue_cert("worker", HOST)
    files = {"TLS_CERT": issued.cert_chain_pems[0], "TLS_KEY": issued.private_key_pem, "TLS_CA": authority.cert_pem}
    for name, content in files.items():
        content.write_to_path(folder / f"{name}.pem")
    return {name: str(folder / f"{name}.pem") for name in files}
