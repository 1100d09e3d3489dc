"""A server that closes connections from far less memory than the real one: SERVICE says which.

The real bound would make a test of it as large as a container.
"""

import os
import runpy

from chassis.grpc_server import eviction

if __name__ == "__main__":
    eviction.MAX_MEMORY = 256 * 1024 * 1024
    runpy.run_module(f"{os.environ['SERVICE']}_svc", run_name="__main__")
