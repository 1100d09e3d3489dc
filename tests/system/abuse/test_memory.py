"""Clients that have a server keep what is large: half a message on each stream, or answers that nobody reads."""

import sys
from contextlib import ExitStack

import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from support.mine import TESTS
from support.service_process import ServiceProcesses
from support.waiting import wait_until as until
from system.abuse.raw_h2 import RawClient, SettingsFrame, message
from system.abuse.victim import PATHS, Victim

LARGEST = 2 * 1024 * 1024
BOUND = 256 * 1024 * 1024
"""Of small_svc.py."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how large a process is")


def small(processes: ServiceProcesses, service: str) -> Victim:
    victim = Victim(processes.start("system.abuse.small", SERVICE=service, PACE="full", PORT=0, PYTHONPATH=TESTS))
    victim.warm_up()
    return victim


def fill(victim: Victim, stack: ExitStack, service: str) -> RawClient:
    """Open a connection that makes it keep up to 400 MiB."""
    if service == "hasher":
        client = stack.enter_context(RawClient(victim.port, source="127.0.0.2"))
        client.read(0.1)
        for _ in range(200):
            client.say(client.open(PATHS["hasher"]), message(bytes(LARGEST))[:-1])
    else:
        # Not one byte of an answer is let through.
        never = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}
        client = stack.enter_context(RawClient(victim.port, source="127.0.0.2", settings=never))
        client.read(0.1)
        for _ in range(200):
            client.open(PATHS["rng"], StreamRandomBytesRequest(count=65_536, size=32).SerializeToString())
    return client


@pytest.mark.parametrize("service", ["rng", "hasher"])
def test_the_greediest_is_cut_off_before_memory_runs_out(processes: ServiceProcesses, service: str) -> None:
    victim = small(processes, service)
    with victim.unharmed(), ExitStack() as stack:
        polite = stack.enter_context(RawClient(victim.port))
        polite.read(0.1)
        greedy = fill(victim, stack, service)
        until(lambda: greedy.until_closed(0.01), 15)
        assert not polite.until_closed(0.5)
        assert victim.memory < BOUND
        assert victim.samples()("dockercoins_server_closed_connections_total", bound="memory") == 1
        assert "bound=memory peer=ipv4:127.0.0.2" in victim.process.text


@pytest.mark.parametrize("service", ["rng", "hasher"])
def test_what_was_kept_for_a_client_is_given_back_when_it_goes(processes: ServiceProcesses, service: str) -> None:
    victim = small(processes, service)
    before = victim.memory
    with victim.unharmed(), RawClient(victim.port) as client:
        client.read(0.1)
        for _ in range(30):
            if service == "hasher":
                client.say(client.open(PATHS["hasher"]), message(bytes(LARGEST))[:-1])
            else:
                client.open(PATHS["rng"], StreamRandomBytesRequest(count=65_536, size=32).SerializeToString())
        client.read(0.1)
        until(lambda: victim.memory > before + 20 * LARGEST)
