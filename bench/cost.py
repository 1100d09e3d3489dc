"""What tracing and TLS cost at full pace: pairs of systems that differ in nothing else."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trustme
from support.otlp_receiver import otlp_receiver

from bench.figures import Bound, Report, Spread
from bench.pairs import Pair, Sample, at_once, cpu_and_speed, lines, order, ratio
from bench.processes import show
from bench.system import HOST, Servers, servers

TRACED = {"PACE": "full", "BATCH_SIZE": "256"}
# The CPU per hash, times that without traces.
MAX_TRACED_CPU = 1.02

# The batch size that is fastest without TLS.
ENCRYPTED = {"PACE": "full", "BATCH_SIZE": "65536", "WINDOW_SIZE": "8"}
# The speed, times that without TLS.
MIN_ENCRYPTED_SPEED = 0.8


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
    bound = Bound(
        "CPU per hash with traces, times that without", Spread(ratio(cpu, pairs).values), "<=", MAX_TRACED_CPU
    )
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
    bound = Bound("speed with TLS, times that without", Spread(ratio(speed, pairs).values), ">=", MIN_ENCRYPTED_SPEED)
    return lines("With TLS, and without", ("TLS", "without"), pairs), [bound]


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
