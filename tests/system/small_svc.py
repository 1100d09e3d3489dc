"""The real SERVICE, which closes connections from far less memory: that of a container would need a test as large."""

import os
import runpy

from chassis.grpc_server import eviction

if __name__ == "__main__":
    eviction.MAX_MEMORY = 384 * 1024 * 1024
    runpy.run_module(f"{os.environ['SERVICE']}_svc", run_name="__main__")
