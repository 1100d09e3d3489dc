import subprocess
import sys

import pytest

UNUSED = {"aiohttp", "grpc_channelz", "grpc_reflection.v1alpha", "opentelemetry", "redis", "rich"}
"""What took most of the CPU of a start, and most services have no use for at it."""


@pytest.mark.parametrize(
    ("service", "used"), [("rng", set()), ("hasher", set()), ("worker", {"redis"}), ("webui", {"aiohttp", "redis"})]
)
def test_a_service_imports_only_what_it_uses(service: str, used: set[str]) -> None:
    code = f"import gc, sys, {service}_svc.__main__; print(gc.isenabled(), *sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    collecting, *imported = ended.stdout.split()
    assert collecting == "True"
    assert UNUSED & set(imported) == used


def test_what_was_kept_out_can_be_imported_later() -> None:
    code = "import worker_svc.__main__; import rich.table, opentelemetry.sdk.trace"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
