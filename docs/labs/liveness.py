"""Checks rng-1 once a second, as an orchestrator does, and has it restarted when three checks in a row fail.

python docs/labs/liveness.py health CHECKS     a check is a request to its health endpoint
python docs/labs/liveness.py work CHECKS       a check is a request for random bytes
"""

import subprocess
import sys
import time
import urllib.request

import grpc
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub

LIMIT_S = 0.5

channel = grpc.insecure_channel("ipv4:127.0.0.1:50051")


def check() -> bool:
    """Return whether rng-1 responds well, and in time."""
    try:
        if sys.argv[1] == "health":
            urllib.request.urlopen("http://127.0.0.1:9101/healthz", timeout=LIMIT_S).close()
        else:
            RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32), timeout=LIMIT_S)
    except (OSError, grpc.RpcError):
        return False
    return True


failed = restarts = in_a_row = 0
slowest = 0.0
for _ in range(int(sys.argv[2])):
    began = time.monotonic()
    passed = check()
    seconds = time.monotonic() - began
    print(f"{'passed' if passed else 'failed'} after {seconds * 1e3:.0f} ms", flush=True)
    slowest = max(slowest, seconds)
    in_a_row = 0 if passed else in_a_row + 1
    failed += not passed
    if in_a_row == 3:
        subprocess.run([sys.executable, "-m", "local_run", "kill", "rng-1"], check=True)
        restarts += 1
        in_a_row = 0
    time.sleep(1)
print(f"{failed} failed, {restarts} restarts, slowest {slowest * 1e3:.0f} ms")
