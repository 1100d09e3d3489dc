"""Sends one request to the rng at 127.0.0.1:50051 over TLS, and prints what comes back.

python docs/labs/call_rng.py CA [NAME]

CA is the file with the authority that the client trusts. NAME stands for the client's certificate, NAME.pem, and its
key, NAME-key.pem; without it, the client has none.
"""

import sys
from pathlib import Path

import grpc
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub

authority, name = sys.argv[1], next(iter(sys.argv[2:]), None)
credentials = grpc.ssl_channel_credentials(
    Path(authority).read_bytes(),
    Path(f"{name}-key.pem").read_bytes() if name else None,
    Path(f"{name}.pem").read_bytes() if name else None,
)
# The name that the server's certificate must have, since DNS does not lead there.
options = [("grpc.ssl_target_name_override", "rng")]
with grpc.secure_channel("127.0.0.1:50051", credentials, options) as channel:
    try:
        response = RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32), timeout=2)
        print(f"{len(response.data)} bytes from {response.served_by}")
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}")
