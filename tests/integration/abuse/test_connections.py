import asyncio

from hyperframe.frame import HeadersFrame
from support import served
from support.free_port import free_port
from support.raw_h2 import RawClient
from support.waiting import wait_until

from chassis.grpc_server.connections import Connections

STREAM = "/dockercoins.rng.v1.RngService/StreamRandomBytes"


async def test_calls_of_a_client_that_has_gone_do_not_count_for_its_address() -> None:
    port = free_port()
    connections = Connections(port)

    def open_calls(client: RawClient) -> None:
        for _ in range(3):
            client.open(STREAM)
        wait_until(lambda: client.read(0.05) is not None and begun(client) == 3)

    def begun(client: RawClient) -> int:
        return sum(isinstance(frame, HeadersFrame) for frame in client.received)

    async with served.rng(port=port):
        with RawClient(port) as client:
            await asyncio.to_thread(open_calls, client)
            assert list(connections.open_streams().values()) == [3]
        # This waits in the event loop's thread, so that the server can't end the calls meanwhile.
        wait_until(lambda: connections.peers() == [])
        assert connections.open_streams() == {}
