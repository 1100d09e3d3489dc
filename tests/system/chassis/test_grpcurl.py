"""The servers as people probe them: with grpcurl, which knows nothing but what reflection tells it."""

import base64
import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from support.served import HASHER, RNG
from support.service_process import ServiceProcess, ServiceProcesses

GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent))


def grpcurl(process: ServiceProcess, *words: str, data: str | None = None) -> str:
    assert GRPCURL is not None, "grpcurl is missing: make test installs it"
    sent = [] if data is None else ["-d", data]
    command = [GRPCURL, "-plaintext", "-max-time", "5", *sent, f"127.0.0.1:{process.port}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def test_a_person_finds_describes_and_asks_rng(processes: ServiceProcesses) -> None:
    process = processes.start("rng", DELAY=0, INSTANCE="rng-1")
    assert RNG in grpcurl(process, "list").splitlines()
    assert "rpc StreamRandomBytes ( stream" in grpcurl(process, "describe", RNG)
    assert "rpc GetRandomBytes (" in grpcurl(process, "describe", f"{RNG}.GetRandomBytes")
    answer = json.loads(grpcurl(process, f"{RNG}/GetRandomBytes", data='{"size": 32}'))
    assert len(base64.b64decode(answer["data"])) == 32
    assert answer["served_by"] == "rng-1"
    assert "SERVING" in grpcurl(process, "grpc.health.v1.Health/Check", data=json.dumps({"service": RNG}))


def test_a_person_streams_to_hasher(processes: ServiceProcesses) -> None:
    process = processes.start("hasher", DELAY=0)
    data = base64.b64encode(b"onetwo").decode()
    requests = "".join(json.dumps({"batch_id": number, "data": data, "message_size": 3}) for number in (1, 2))
    output = grpcurl(process, f"{HASHER}/StreamHashes", data=requests)
    first, end = json.JSONDecoder().raw_decode(output)
    second = json.loads(output[end:])
    assert (first["batch_id"], second["batch_id"]) == ("1", "2")
    assert base64.b64decode(first["digests"]) == sha256(b"one").digest() + sha256(b"two").digest()


def test_a_person_is_told_what_is_wrong_with_a_request(processes: ServiceProcesses) -> None:
    process = processes.start("rng")
    with pytest.raises(subprocess.CalledProcessError) as error:
        grpcurl(process, f"{RNG}/GetRandomBytes", data='{"size": 0}')
    assert "Code: InvalidArgument" in error.value.stderr
    assert "size: 0 is not allowed, it must be 1 to 2097152 bytes" in error.value.stderr
