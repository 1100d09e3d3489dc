"""A bare grpc.aio client: batches of one message at a steady rate, by unary calls, and nothing else.

Its arguments are the addresses of rng and hasher, batches per second, and seconds. It prints the CPU seconds per call.
"""

import asyncio
import sys
import time

import grpc
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest, StreamRandomBytesResponse

# As the load test's.
METADATA = (("client-id", "worker-1-load-test"),)


async def main(rng: str, hasher: str, rate: float, seconds: float) -> float:
    """Return the CPU seconds per call."""
    async with grpc.aio.insecure_channel(rng) as rng_channel, grpc.aio.insecure_channel(hasher) as hasher_channel:
        random_bytes = rng_channel.unary_unary(
            "/dockercoins.rng.v1.RngService/StreamRandomBytes",
            request_serializer=StreamRandomBytesRequest.SerializeToString,
            response_deserializer=StreamRandomBytesResponse.FromString,
        )
        hashes = hasher_channel.unary_unary(
            "/dockercoins.hasher.v1.HasherService/StreamHashes",
            request_serializer=StreamHashesRequest.SerializeToString,
            response_deserializer=StreamHashesResponse.FromString,
        )

        async def batch(number: int) -> None:
            random = await random_bytes(
                StreamRandomBytesRequest(batches=[StreamRandomBytesRequest.Batch(batch_id=number, count=1, size=32)]),
                metadata=METADATA,
            )
            data = random.batches[0].data
            await hashes(
                StreamHashesRequest(batches=[StreamHashesRequest.Batch(batch_id=number, data=data, message_size=32)]),
                metadata=METADATA,
            )

        await batch(0)
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        began, cpu = loop.time(), time.process_time()
        batches = int(rate * seconds)
        for number in range(batches):
            if (wait := began + number / rate - loop.time()) > 0:
                await asyncio.sleep(wait)
            task = loop.create_task(batch(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return (time.process_time() - cpu) / (2 * batches)


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))))  # noqa: T201
