"""A service as it would be if nothing were counted for metrics: `python -m bench.uncounted rng_svc`.

What counts is replaced by what does the rest alone; of a latency that is not counted, an empty call is left.
"""

import runpy
import sys
from collections.abc import Sequence
from typing import Any

from chassis.grpc_server import call_watch
from chassis.telemetry.event_loop_lag import EventLoopLag
from chassis.telemetry.latency_histogram import LatencyHistogram


def _received(call: Any, message: bytes) -> None:
    call._bytes_in += len(message)  # noqa: SLF001 - it stands for a method


def _sent(call: Any, message: bytes) -> None:
    call._batches += 1  # noqa: SLF001 - as above
    call._bytes_out += len(message)  # noqa: SLF001 - as above


def _open(watch: Any, channel: Any, metadata: Sequence[tuple[str, str]]) -> Any:
    return channel.stream_stream(watch._path)(metadata=tuple(metadata), wait_for_ready=True)  # noqa: SLF001 - as above


async def _never(_: EventLoopLag) -> None:
    """Look at nothing."""


def _uncount() -> None:
    replacements: list[tuple[type, str, Any]] = [
        (call_watch._Call, "received", _received),  # noqa: SLF001 - there is no other way to its methods
        (call_watch._Call, "sent", _sent),  # noqa: SLF001 - as above
        (LatencyHistogram, "observe", lambda _, __: None),
        (EventLoopLag, "run", _never),
    ]
    if sys.argv[1] == "worker_svc":
        from chassis.grpc_client import InstrumentedMethod  # noqa: PLC0415 - servers have none

        replacements.append((InstrumentedMethod, "open", _open))
    for owner, name, replacement in replacements:
        if name not in vars(owner):
            raise AttributeError(f"{owner.__name__} has no {name} to be replaced")
        setattr(owner, name, replacement)


if __name__ == "__main__":
    _uncount()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
