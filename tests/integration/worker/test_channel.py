import asyncio
import socket

from chassis.grpc_client.channel import failure, open_channel


async def test_a_channel_that_is_closed_meanwhile_has_no_known_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = open_channel(f"ipv4:127.0.0.1:{silent.getsockname()[1]}", "a.Service", None)
        looking = asyncio.create_task(failure(channel, secure=False))
        await asyncio.sleep(0)
        await channel.close()
        assert await looking == ""
