"""Sixty-four servers of rng, each on an address of its own, and the name server that lists them; prints the target."""

import asyncio
import contextlib

from support.dns_server import dns_server
from support.free_port import free_port
from support.rng_servers import rng_server

from chassis import log
from chassis.settings import LogFormat, LogLevel

COUNT = 64
NAME = "many"


async def main() -> None:
    log.configure(LogLevel.ERROR, LogFormat.CONSOLE)
    port = free_port()
    addresses = [f"127.0.2.{number}" for number in range(1, COUNT + 1)]
    with dns_server(NAME) as names:
        names.addresses[NAME] = addresses
        async with contextlib.AsyncExitStack() as stack:
            for address in addresses:
                await stack.enter_async_context(rng_server(address, port, bind_address=address))
            print(names.target(NAME, port), flush=True)  # noqa: T201 - the test reads it
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
