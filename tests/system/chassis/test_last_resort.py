"""A process that something outside the event loop would keep."""

import signal
import subprocess
import sys
import time

PROGRAM = """
import asyncio, contextlib, sys, time
from chassis import process
from chassis.settings import ServiceSettings

@contextlib.asynccontextmanager
async def stuck(settings, telemetry):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 30)
    yield

sys.exit(process.run("stuck", ServiceSettings, stuck))
"""


def test_a_look_up_that_is_never_answered_holds_no_process_beyond_the_bound() -> None:
    """As of a name server that went away with the network."""
    process = subprocess.Popen([sys.executable, "-uc", PROGRAM], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        while b"started" not in process.stdout.readline():
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1
        assert 1 < time.monotonic() - began < 3.5
