"""A plain gRPC client: it sends a request to rng twice a second, and prints which replica responded."""

import sys
import time

import grpc
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = RngServiceStub(channel)
    for _ in range(int(sys.argv[2])):
        try:
            print(stub.GetRandomBytes(GetRandomBytesRequest(size=32), wait_for_ready=True).served_by, flush=True)
        except grpc.RpcError as error:
            print(error.code().name, file=sys.stderr)
        time.sleep(0.5)
