import asyncio
from collections.abc import Iterator

import grpc
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesResponse
from support.waiting import until

from load_test.unary_calls import UnaryCalls
from worker_svc.batch import Batch
from worker_svc.stage import RNG


def response(batch_id: int, size: int) -> bytes:
    batch = StreamRandomBytesResponse.Batch(batch_id=batch_id, data=bytes(size))
    return StreamRandomBytesResponse(batches=[batch]).SerializeToString()


async def test_a_response_that_is_not_the_batch_s_is_an_error_and_the_batch_is_sent_again() -> None:
    responses: Iterator[bytes] = iter([b"\xff", b"", response(1, 31), response(2, 32), response(1, 32)])

    async def respond(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        del context
        return next(responses)

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(respond)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(RNG.service, {RNG.method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    calls = UnaryCalls(RNG, f"ipv4:127.0.0.1:{port}", client_id="client")
    running = asyncio.create_task(calls.run())
    payloads: list[bytes] = []
    calls.send(Batch(1, 1, 32, 0.0), lambda payload: payloads.append(bytes(payload)))
    await until(lambda: bool(payloads))
    assert payloads == [bytes(32)]
    assert (calls.errors, calls.resent) == ({"INTERNAL": 4}, 4)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.stop(None)
