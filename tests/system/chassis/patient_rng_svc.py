"""The real rng, which accepts streams for longer after NOT_SERVING, and waits for longer for those that are open."""

import runpy

from chassis.grpc_server import server
from rng_svc.settings import RngSettings

server.ACCEPT_TIME_S, server.DRAIN_LIMIT_S = 2.0, 25.0
RngSettings.stop_limit = 28.0

if __name__ == "__main__":
    runpy.run_module("rng_svc", run_name="__main__")
