"""The tests' name server says over TCP what is too large for UDP, and gRPC's resolver asks for that."""

import socket
import threading

import dns.flags
import dns.message
import dns.query
import grpc
import pytest
from support.free_port import free_port

from bench.dns_server import DnsServer, Mood, dns_server
from bench.scaling.names import addresses

NAME = "many.test"
MANY = 1_000


def ask(dns_server: DnsServer, *, tcp: bool = False, payload: int | None = None) -> dns.message.Message:
    query = dns.message.make_query(NAME, "A", payload=payload)
    asked = dns.query.tcp if tcp else dns.query.udp
    return asked(query, "127.0.0.1", port=dns_server.server_address[1], timeout=10, one_rr_per_rrset=False)


def count(answer: dns.message.Message) -> int:
    return sum(len(records) for records in answer.answer)


def test_a_large_answer_is_cut_off_over_udp_and_whole_over_tcp() -> None:
    with dns_server(NAME) as server:
        server.addresses[NAME] += addresses(MANY)
        cut, whole = ask(server), ask(server, tcp=True)
    assert cut.flags & dns.flags.TC
    assert count(cut) < 32
    assert not whole.flags & dns.flags.TC
    assert count(whole) == MANY


def test_who_takes_more_over_udp_is_told_more() -> None:
    with dns_server(NAME) as server:
        server.addresses[NAME] += addresses(70)
        assert count(ask(server, payload=1_232)) == 70
        assert ask(server).flags & dns.flags.TC


def test_moods_are_those_of_tcp_too() -> None:
    with dns_server(NAME) as server:
        server.addresses[NAME] += addresses(MANY)
        server.mood = Mood.EMPTY
        assert count(ask(server, tcp=True)) == 0


@pytest.mark.parametrize("place", [0, MANY // 2, MANY - 1])
async def test_a_channel_finds_the_only_server_of_a_thousand_addresses(place: int) -> None:
    """All but one refuse; over UDP alone, most of them would not even be known."""
    known = [f"127.0.0.{number % 250 + 2}" for number in range(MANY)]  # a name may say an address several times
    known[place] = "127.0.0.1"
    server = grpc.aio.server()
    port = server.add_insecure_port(f"127.0.0.1:{free_port()}")
    await server.start()
    with dns_server(NAME) as names:
        names.addresses[NAME] += known
        options = (("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),)
        async with grpc.aio.insecure_channel(names.target(NAME, port), options=options) as channel:
            await channel.channel_ready()
    await server.stop(None)


def test_nothing_listens_once_it_is_closed() -> None:
    before = threading.enumerate()
    with dns_server(NAME) as server:
        port = server.server_address[1]
        serving = {thread for thread in threading.enumerate() if thread not in before}
    assert len(serving) == 2
    assert not any(thread.is_alive() for thread in serving)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
