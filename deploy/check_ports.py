"""Checks that the ports of the containers are free before any of them starts; `make up` calls it with any Python 3.

It reads the output of `docker compose config --format json`. Arguments are services that run already, and hold theirs.
The engine takes the next port of a range, and fails if another process has it, so all of a range must be free.
"""

import json
import socket
import sys

VARIABLES = {"webui": "WEBUI_PORT", "prometheus": "PROMETHEUS_PORT"}


def is_taken(host: str, port: int) -> bool:
    """Return whether a process accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def main() -> int:
    """Report the first port that is in use, and return the exit code."""
    for name, service in json.load(sys.stdin)["services"].items():
        for published in service.get("ports", ()) if name not in sys.argv[1:] else ():
            first, _, last = str(published.get("published", "")).partition("-")
            for port in range(int(first or 0), int(last or first or 0) + 1):
                if port and is_taken("127.0.0.1", port):
                    remedy = f"choose another with {VARIABLES[name]}=..." if name in VARIABLES else "is `make run` on?"
                    sys.stderr.write(f"{name}: port {port} is already in use; {remedy}\n")
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
